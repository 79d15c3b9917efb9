// expect: say what is collected with .collecting<C>()
#include <vector>

#include <weir/stream/emits.hpp>

void mistake(asio::thread_pool& pool) {
  auto builder = weir::emits<int>(pool).sender(std::vector<int>()).receiver([](auto& event, auto& out) {
    out.collect(event.data());
  });
#ifdef CORRECT
  auto stream = std::move(builder).collecting<int>().start();
#else
  std::move(builder).start();
#endif
}
