/// Runs one example of the pages, by its name.
#include "docs/bodies.hpp"

int main(int argc, char** argv) {
  for (const Body& body : bodies) {
    if (argc != 2 || body.name != argv[1]) continue;
    try {
      asio::thread_pool pool(2);
      weir::sync_wait(body.run(pool));
      return 0;
    } catch (const std::exception& error) {
      fmt::print(stderr, "{}: {}\n", body.name, error.what());
      return 1;
    }
  }
  fmt::print(stderr, "there is no such example\n");
  return 2;
}
