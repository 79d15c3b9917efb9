// expect: weir::emits<T>(...).start(): the stream has no receiver; call .receiver(...) first
#include <vector>

#include <weir/stream/emits.hpp>

void mistake(asio::thread_pool& pool) {
#ifdef CORRECT
  auto stream = weir::emits<int>(pool).sender(std::vector<int>()).receiver([](auto&) {}).start();
#else
  weir::emits<int>(pool).sender(std::vector<int>()).start();
#endif
}
