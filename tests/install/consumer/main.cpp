// The first program of the documentation, on input of its own: against the installed headers.
#include <fmt/core.h>

#include <charconv>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include <weir/weir.hpp>

namespace {

struct Hit {
  int status = 0;
};

Hit parse(const std::string& line) {
  Hit hit;
  const auto place = line.find(' ') + 1;
  std::from_chars(line.data() + place, line.data() + line.size(), hit.status);
  return hit;
}

}  // namespace

int main() {
  const auto path = std::filesystem::temp_directory_path() / "weir_consumer.log";
  std::ofstream(path) << "/a 200\n/b 404\r\n/c 200\n/d 200";

  asio::thread_pool pool;
  auto stream = weir::emits<std::string>(pool)
                    .named("hits-by-status")
                    .sender(weir::lines_of(path))
                    .receiver(weir::parallel(4), [](const auto& event) { return parse(event.data()); })
                    .collect(weir::collect::keyed(&Hit::status, weir::collect::count))
                    .start();

  const auto result = weir::sync_wait(stream.final_event());
  std::filesystem::remove(path);
  if (!result) fmt::print(stderr, "{}\n", result.error());
  for (const auto& [status, n] : result.collected()) fmt::print("{} {}\n", status, n);
  return result && result.collected().at(200) == 3 && result.collected().at(404) == 1 ? 0 : 1;
}
