// expect: weir::emits<T>(...).start_into(tx): tx is neither ChannelSender<T> nor ChannelSender<SenderEvent<T>>
// expect: weir::emits<T>(...).start_into(tx): there is no sender; call .sender(...) first
// expect: weir::emits<T>(...).start_into(tx): the receiver would get nothing; it is what start_from(rx) is for
// expect: weir::emits<T>(...).start_from(rx): rx is neither ChannelReceiver<T> nor ChannelReceiver<SenderEvent<T>>
// expect: weir::emits<T>(...).start_from(rx): there is no receiver; call .receiver(...) first
// expect: weir::emits<T>(...).start_from(rx): the sender would not be started; it is what start_into(tx) is for
#include <vector>

#include <weir/stream/emits.hpp>

void mistake(asio::thread_pool& pool) {
  auto [tx, rx] = weir::make_channel<int>(pool);
  const auto use = [](auto&) {};
#ifdef CORRECT
  auto sending = weir::emits<int>(pool).sender(std::vector<int>()).start_into(tx);
  auto receiving = weir::emits<int>(pool).receiver(use).start_from(rx);
#else
  auto [longs, received_longs] = weir::make_channel<long>(pool);
  auto other_in = weir::emits<int>(pool).sender(std::vector<int>()).start_into(longs);
  auto no_sender = weir::emits<int>(pool).start_into(tx);
  auto with_receiver = weir::emits<int>(pool).sender(std::vector<int>()).receiver(use).start_into(tx);
  auto other_out = weir::emits<int>(pool).receiver(use).start_from(received_longs);
  static_cast<void>(weir::emits<int>(pool).start_from(rx));
  auto with_sender = weir::emits<int>(pool).sender(std::vector<int>()).receiver(use).start_from(rx);
#endif
}
