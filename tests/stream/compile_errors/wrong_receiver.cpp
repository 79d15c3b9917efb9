// expect: the receiver takes neither (event) nor (event, collector)
#include <string>
#include <vector>

#include <weir/stream/emits.hpp>

void mistake(asio::thread_pool& pool) {
#ifdef CORRECT
  auto stream =
      weir::emits<int>(pool).sender(std::vector<int>()).receiver([](const weir::ReceiverEvent<int>&) {}).start();
#else
  weir::emits<int>(pool).sender(std::vector<int>()).receiver([](const weir::ReceiverEvent<std::string>&) {}).start();
#endif
}
