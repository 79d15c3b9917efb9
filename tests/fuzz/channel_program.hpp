// Bytes as a program of operations on one channel, run beside a model that knows what each must give.
//
// The first bytes choose the kind of channel, its capacity and policy, and the order in which the simulator runs what
// is ready; each further pair is an instruction. Whatever waits is run until nothing is ready, except after an
// instruction that says otherwise, so that cancels meet wake-ups that are under way. A difference aborts.
#pragma once

#include <weir/channel/channel.hpp>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <weir/core/spawn.hpp>
#include <weir/sim/simulator.hpp>

namespace weir_fuzz {

enum class Outcome { none, done, value, closed, reason, full, cancelled };

inline const char* word(Outcome outcome) {
  static constexpr const char* words[] = {"waiting", "done", "a value", "closed", "the reason", "full", "cancelled"};
  return words[static_cast<std::size_t>(outcome)];
}

/// Not copyable, and with memory of its own: what is lost or destroyed twice is seen by a sanitizer.
using Value = std::unique_ptr<int>;

enum class Kind { send, reserve, send_all, receive, receive_some };

/// One operation that may wait: what it should have come to, and what it did.
struct Operation {
  Kind kind = Kind::send;
  bool by_token = false;     ///< `async_send`, `async_receive`: it holds no handle
  std::vector<int> numbers;  ///< what it sends
  std::size_t most = 0;      ///< for receive_some

  // The model's.
  Outcome expected = Outcome::none;
  std::vector<int> gets;
  std::size_t sends = 0;
  bool cancel_asked = false;
  bool left = false;  ///< its handle is counted no more

  // What happened.
  Outcome outcome = Outcome::none;
  std::vector<int> got;
  std::size_t sent = 0;
  asio::cancellation_signal signal;
};

/// The channel as its documentation says it is.
class Model {
 public:
  Model(std::size_t capacity, weir::Overflow overflow) : capacity_(capacity), overflow_(overflow) {}

  [[nodiscard]] bool shut() const { return closed || receivers == 0; }
  [[nodiscard]] bool ended() const { return closed && buffer.empty() && reserved == 0; }
  [[nodiscard]] bool room() const { return buffer.size() + reserved < capacity_; }

  /// A send of one value now: `none` is "it would wait".
  Outcome send(int number) {
    if (shut()) return Outcome::closed;
    if (overflow_ == weir::Overflow::latest) drop_front();
    if (!room()) {
      switch (overflow_) {
        case weir::Overflow::wait:
          return Outcome::none;
        case weir::Overflow::reject:
          return Outcome::full;
        case weir::Overflow::drop_oldest:
          if (drop_front()) break;
          [[fallthrough]];
        default:
          ++admitted;
          ++dropped;
          return Outcome::done;
      }
    }
    deliver(number);
    return Outcome::done;
  }
  Outcome reserve() {
    if (shut()) return Outcome::closed;
    if (!room()) {
      if (overflow_ == weir::Overflow::wait) return Outcome::none;
      const bool drops = overflow_ == weir::Overflow::drop_oldest || overflow_ == weir::Overflow::latest;
      if (!drops || !drop_front()) return Outcome::full;
    }
    ++reserved;
    return Outcome::done;
  }
  Outcome send_reserved(int number) {
    if (receivers == 0) return Outcome::closed;
    if (overflow_ == weir::Overflow::latest) drop_front();
    --reserved;
    deliver(number);
    admit();
    end_receivers();
    return Outcome::done;
  }
  void release() {
    --reserved;
    admit();
    end_receivers();
  }
  Outcome receive(int& number) {
    if (!buffer.empty()) {
      number = buffer.front();
      buffer.pop_front();
      ++received;
      admit();
      return Outcome::value;
    }
    return end_seen();
  }
  /// The one that was asked for `number` values, which were there or came in as room appeared.
  void receive_exactly(std::size_t count, std::vector<int>& numbers) {
    for (; count != 0; --count) {
      if (buffer.empty()) admit();
      numbers.push_back(buffer.front());
      buffer.pop_front();
      ++received;
    }
    admit();
  }
  /// How many values one receiver can take, when those that wait to send come in as room appears.
  [[nodiscard]] std::size_t at_hand(std::size_t most) const {
    std::size_t taken = 0;
    std::size_t here = buffer.size();
    std::size_t kept = reserved;
    std::size_t sender = 0;
    std::size_t sent = 0;
    while (taken < most) {
      while (here == 0 && taken != 0 && sender < waiting_senders.size() && here + kept < capacity_) {
        const Operation& next = *waiting_senders[sender];
        if (next.kind == Kind::reserve) {
          ++kept;
        } else {
          ++here;
          if (next.sends + ++sent < next.numbers.size()) continue;
        }
        sent = 0;
        ++sender;
      }
      if (here == 0) break;
      --here;
      ++taken;
    }
    return taken;
  }
  [[nodiscard]] Outcome end_seen() const {
    if (!ended()) return Outcome::none;
    return with_reason ? Outcome::reason : Outcome::closed;
  }

  void close(bool reason) {
    if (closed) return;
    closed = true;
    with_reason = reason;
    refuse_senders();
    end_receivers();
  }
  std::size_t discard() {
    const std::size_t count = buffer.size();
    while (drop_front()) {
    }
    admit();
    end_receivers();
    return count;
  }
  void leave_sender() {
    if (--senders == 0) close(false);
  }
  void leave_receiver() {
    if (--receivers != 0) return;
    while (drop_front()) {
    }
    refuse_senders();
    for (Operation* receiver : waiting_receivers) receiver->expected = with_reason ? Outcome::reason : Outcome::closed;
    waiting_receivers.clear();
  }

  /// An operation that began; it is in a queue if it has to wait.
  void begin(Operation& operation) {
    int number = 0;
    switch (operation.kind) {
      case Kind::send:
        operation.expected = send(operation.numbers[0]);
        break;
      case Kind::reserve:
        operation.expected = reserve();
        break;
      case Kind::send_all:
        operation.expected = Outcome::done;
        while (operation.sends < operation.numbers.size() && operation.expected == Outcome::done) {
          operation.expected = send(operation.numbers[operation.sends]);
          if (operation.expected == Outcome::done) ++operation.sends;
        }
        break;
      case Kind::receive:
        operation.expected = receive(number);
        if (operation.expected == Outcome::value) operation.gets.push_back(number);
        break;
      case Kind::receive_some:
        return;  // see receive_exactly
    }
    if (operation.expected != Outcome::none) return;
    (operation.kind == Kind::receive ? waiting_receivers : waiting_senders).push_back(&operation);
  }
  void cancel(Operation& operation) {
    if (operation.expected != Outcome::none) return;
    std::erase(waiting_receivers, &operation);
    std::erase(waiting_senders, &operation);
    operation.expected = Outcome::cancelled;
  }

  std::deque<int> buffer;
  std::size_t reserved = 0;
  bool closed = false;
  bool with_reason = false;
  int senders = 1;
  int receivers = 1;
  std::uint64_t admitted = 0;
  std::uint64_t received = 0;
  std::uint64_t dropped = 0;
  std::vector<Operation*> waiting_senders;
  std::vector<Operation*> waiting_receivers;

 private:
  bool drop_front() {
    if (buffer.empty()) return false;
    buffer.pop_front();
    ++dropped;
    return true;
  }
  void deliver(int number) {
    ++admitted;
    if (waiting_receivers.empty()) {
      buffer.push_back(number);
      return;
    }
    Operation& receiver = *waiting_receivers.front();
    waiting_receivers.erase(waiting_receivers.begin());
    receiver.expected = Outcome::value;
    receiver.gets.push_back(number);
    ++received;
  }
  void admit() {
    while (!waiting_senders.empty() && room()) {
      Operation& sender = *waiting_senders.front();
      if (sender.kind == Kind::reserve) {
        ++reserved;
      } else {
        deliver(sender.numbers[sender.sends]);
        if (++sender.sends < sender.numbers.size()) continue;
      }
      sender.expected = Outcome::done;
      waiting_senders.erase(waiting_senders.begin());
    }
  }
  void refuse_senders() {
    for (Operation* sender : waiting_senders) sender->expected = Outcome::closed;
    waiting_senders.clear();
  }
  void end_receivers() {
    if (!ended()) return;
    for (Operation* receiver : waiting_receivers) receiver->expected = end_seen();
    waiting_receivers.clear();
  }

  std::size_t capacity_;
  weir::Overflow overflow_;
};

/// One program on one kind of channel.
template <class Tx, class Rx>
class Machine {
 public:
  Machine(weir::sim::Simulator& sim, std::pair<Tx, Rx> ends, std::size_t capacity, weir::Overflow overflow,
          bool verbose)
      : sim_(sim), model_(capacity, overflow), capacity_(capacity), overflow_(overflow), verbose_(verbose) {
    tx_.push_back(std::move(ends.first));
    rx_.push_back(std::move(ends.second));
  }

  void run(std::span<const std::uint8_t> program) {
    for (std::size_t i = 0; i + 1 < program.size() && i < 400; i += 2) {
      instruct(program[i], program[i + 1]);
      if (program[i] < 128 || must_settle_) settle();
    }
    finish();
  }

 private:
  using HeldPermit = weir::await_result_t<decltype(std::declval<Tx&>().reserve())>;
  static constexpr bool copyable = std::is_copy_constructible_v<Tx>;
  static constexpr std::size_t most_handles = 4;
  static constexpr std::size_t most_operations = 8;

  [[noreturn]] void fail(const std::string& what) const {
    std::fprintf(stderr, "instruction %d: %s\n", step_, what.c_str());
    std::abort();
  }
  void expect(bool holds, const char* what) const {
    if (!holds) fail(what);
  }
  void tell(const char* what, int argument) const {
    if (verbose_) std::fprintf(stderr, "%3d %s %d\n", step_, what, argument);
  }

  // One handle is one party: with handles that can't be copied, an end does one thing at a time.
  [[nodiscard]] bool end_is_free(bool sender) const {
    if constexpr (copyable) return true;
    for (const auto& operation : operations_) {
      const bool sends = operation->kind != Kind::receive && operation->kind != Kind::receive_some;
      if (operation->outcome == Outcome::none && sends == sender) return false;
    }
    return true;
  }

  void instruct(std::uint8_t code, std::uint8_t argument) {
    ++step_;
    must_settle_ = false;
    const std::size_t at = argument;
    switch (code % 16) {
      case 0:
        return start(Kind::send, at);
      case 1:
        return start(Kind::receive, at);
      case 2:
        return try_send(at);
      case 3:
        return try_receive(at);
      case 4:
        return start(Kind::reserve, at);
      case 5:
        return use_permit(at);
      case 6:
        return start(Kind::send_all, at);
      case 7:
        return start(Kind::receive_some, at);
      case 8:
        return cancel(at);
      case 9:
        return close(at);
      case 10:
        return copy(at);
      case 11:
        return drop(at);
      case 12:
        return discard(at);
      case 13:
        return start_by_token(Kind::send, at);
      case 14:
        return start_by_token(Kind::receive, at);
      default:
        return release_permit(at);
    }
  }

  Operation* make(Kind kind, std::size_t at, bool by_token) {
    const bool sender = kind == Kind::send || kind == Kind::reserve || kind == Kind::send_all;
    if ((sender ? tx_.empty() : rx_.empty()) || !end_is_free(sender)) return nullptr;
    if (unfinished() >= most_operations) return nullptr;
    auto operation = std::make_unique<Operation>();
    operation->kind = kind;
    operation->by_token = by_token;
    operation->most = 1 + at % 5;
    const std::size_t values = kind == Kind::send ? 1 : kind == Kind::send_all ? at / 4 % 6 : 0;
    for (std::size_t i = 0; i < values; ++i) operation->numbers.push_back(++last_number_);
    operations_.push_back(std::move(operation));
    return operations_.back().get();
  }
  [[nodiscard]] std::size_t unfinished() const {
    return static_cast<std::size_t>(
        std::ranges::count_if(operations_, [](const auto& operation) { return operation->outcome == Outcome::none; }));
  }

  /// A root with a handle of its own.
  void start(Kind kind, std::size_t at) {
    if (kind == Kind::send_all && overflow_ != weir::Overflow::wait) return;
    settle();
    // How much one takes that has to wait is not promised.
    if (kind == Kind::receive_some && model_.buffer.empty() && !model_.ended()) return;
    Operation* const operation = make(kind, at, false);
    if (!operation) return;
    tell(kind == Kind::send       ? "send"
         : kind == Kind::receive  ? "receive"
         : kind == Kind::reserve  ? "reserve"
         : kind == Kind::send_all ? "send_all"
                                  : "receive_some",
         static_cast<int>(operations_.size()) - 1);
    const bool sender = kind != Kind::receive && kind != Kind::receive_some;
    if constexpr (copyable) {
      sender ? ++model_.senders : ++model_.receivers;
      if (sender) {
        spawn(*operation, [this, operation, tx = tx_[at % tx_.size()]] { return perform(*operation, tx); });
      } else {
        spawn(*operation, [this, operation, rx = rx_[at % rx_.size()]] { return perform(*operation, rx); });
      }
    } else {
      if (sender) {
        spawn(*operation, [this, operation] { return perform(*operation, tx_[0]); });
      } else {
        spawn(*operation, [this, operation] { return perform(*operation, rx_[0]); });
      }
    }
    if (kind != Kind::receive_some) {
      model_.begin(*operation);
      must_settle_ = true;
      return;
    }
    const std::size_t at_least = std::min(operation->most, model_.buffer.size());
    const std::size_t at_most = model_.at_hand(operation->most);
    run_ready();
    if (operation->outcome == Outcome::value) {
      expect(operation->got.size() >= at_least && operation->got.size() <= at_most && !operation->got.empty(),
             "receive_some took another number of values");
      operation->expected = Outcome::value;
      model_.receive_exactly(operation->got.size(), operation->gets);
    } else {
      operation->expected = model_.end_seen();
      expect(operation->expected != Outcome::none, "receive_some waits beside a value");
    }
    must_settle_ = true;
  }

  template <class F>
  void spawn(Operation& operation, F function) {
    weir::spawn(sim_, std::move(function),
                asio::bind_cancellation_slot(operation.signal.slot(), [](std::exception_ptr error) {
                  if (error) std::rethrow_exception(error);
                }));
  }

  weir::Task<> perform(Operation& operation, const Tx& tx) {
    std::vector<Value> values;
    for (const int number : operation.numbers) values.push_back(std::make_unique<int>(number));
    std::optional<HeldPermit> permit;
    auto outcome = Outcome::done;
    bool partial = false;
    try {
      if (operation.kind == Kind::send) {
        co_await tx.send(std::move(values[0]));
      } else if (operation.kind == Kind::send_all) {
        const std::size_t sent = co_await tx.send_all(std::move(values));
        expect(sent == values.size(), "send_all sent another number of values");
      } else {
        permit.emplace(co_await tx.reserve());
      }
    } catch (const weir::PartialSend& error) {
      partial = true;
      operation.sent = error.sent();
      outcome = outcome_of(error.code());
    } catch (const weir::Error& error) {
      outcome = outcome_of(error.code());
    }
    if (!partial && outcome == Outcome::done) operation.sent = operation.numbers.size();
    for (std::size_t i = 0; i < values.size(); ++i) {
      const bool here = values[i] != nullptr;
      // A value that is dropped at once counts as sent; whether it was moved from is not said.
      const bool sent = i < operation.sent;
      expect(here || sent, "what was not sent is not with the sender");
      expect(!here || !sent || overflow_ != weir::Overflow::wait, "what was sent is still with the sender");
      expect(!here || *values[i] == operation.numbers[i], "the sender has another value");
    }
    if (permit) permits_.push_back(std::move(*permit));
    operation.outcome = outcome;
  }

  weir::Task<> perform(Operation& operation, const Rx& rx) {
    auto outcome = Outcome::closed;
    try {
      if (operation.kind == Kind::receive) {
        const auto value = co_await rx.receive();
        if (value) {
          operation.got.push_back(**value);
          outcome = Outcome::value;
        }
      } else {
        std::vector<Value> values;
        const std::size_t count = co_await rx.receive_some(values, operation.most);
        expect(count == values.size(), "receive_some gave another number of values than it said");
        for (const auto& value : values) operation.got.push_back(*value);
        if (count != 0) outcome = Outcome::value;
      }
    } catch (const weir::Error& error) {
      outcome = outcome_of(error.code());
    } catch (const std::system_error& error) {
      outcome = outcome_of(error.code());
    }
    operation.outcome = outcome;
  }

  Outcome outcome_of(const std::error_code& code) const {
    if (code == weir::Errc::channel_closed) return Outcome::closed;
    if (code == weir::Errc::channel_full) return Outcome::full;
    if (code == weir::Errc::cancelled || code == asio::error::operation_aborted) return Outcome::cancelled;
    if (code == std::errc::network_down) return Outcome::reason;
    fail("an error that nobody expects: " + code.message());
  }

  /// The operation is in the channel before the call returns.
  void start_by_token(Kind kind, std::size_t at) {
    Operation* const operation = make(kind, at, true);
    if (!operation) return;
    tell(kind == Kind::send ? "async_send" : "async_receive", static_cast<int>(operations_.size()) - 1);
    if (kind == Kind::send) {
      auto handler = [this, operation](std::error_code error, std::optional<Value> returned) {
        operation->outcome = error ? outcome_of(error) : Outcome::done;
        operation->sent = error ? 0 : 1;
        expect(returned.has_value() == static_cast<bool>(error), "what was not sent is not returned");
        expect(!returned || **returned == operation->numbers[0], "another value is returned");
      };
      auto value = std::make_unique<int>(operation->numbers[0]);
      tx_[at % tx_.size()].async_send(std::move(value),
                                      asio::bind_cancellation_slot(operation->signal.slot(), std::move(handler)));
    } else {
      auto handler = [this, operation](std::error_code error, std::optional<Value> value) {
        operation->outcome = error ? outcome_of(error) : value ? Outcome::value : Outcome::closed;
        if (value) operation->got.push_back(**value);
      };
      rx_[at % rx_.size()].async_receive(asio::bind_cancellation_slot(operation->signal.slot(), std::move(handler)));
    }
    model_.begin(*operation);
  }

  void try_send(std::size_t at) {
    if (tx_.empty() || !end_is_free(true)) return;
    const int number = ++last_number_;
    tell("try_send", number);
    auto value = std::make_unique<int>(number);
    const auto result = tx_[at % tx_.size()].try_send(std::move(value));
    Outcome expected = model_.send(number);
    if (expected == Outcome::none) expected = Outcome::full;
    const auto outcome = result ? Outcome::done : result.closed() ? Outcome::closed : Outcome::full;
    if (outcome != expected) fail(std::string("try_send: ") + word(outcome) + " instead of " + word(expected));
    // One that was dropped as the newest counts as sent; whether it was moved from is not said.
    expect(value != nullptr || outcome == Outcome::done, "a refused value was moved from");
  }

  void try_receive(std::size_t at) {
    if (rx_.empty() || !end_is_free(false)) return;
    tell("try_receive", 0);
    const auto value = rx_[at % rx_.size()].try_receive();
    int number = 0;
    const Outcome expected = model_.receive(number);
    expect(value.has_value() == (expected == Outcome::value), "try_receive: a value is missing, or too many");
    expect(!value || **value == number, "try_receive: another value");
  }

  void use_permit(std::size_t at) {
    if (permits_.empty()) return;
    const int number = ++last_number_;
    tell("permit.send", number);
    auto& permit = permits_[at % permits_.size()];
    auto value = std::make_unique<int>(number);
    auto outcome = Outcome::done;
    try {
      permit.send(std::move(value));
    } catch (const weir::Error& error) {
      outcome = outcome_of(error.code());
    }
    const Outcome expected = model_.send_reserved(number);
    if (outcome != expected) fail(std::string("permit.send: ") + word(outcome) + " instead of " + word(expected));
    expect((value == nullptr) == (outcome == Outcome::done), "a permit moved from what it did not send");
    expect(static_cast<bool>(permit) == (outcome != Outcome::done), "a permit that was used is held, or the reverse");
    if (outcome == Outcome::done) permits_.erase(permits_.begin() + static_cast<std::ptrdiff_t>(at % permits_.size()));
  }
  void release_permit(std::size_t at) {
    if (permits_.empty()) return;
    tell("permit.release", 0);
    permits_.erase(permits_.begin() + static_cast<std::ptrdiff_t>(at % permits_.size()));
    model_.release();
  }

  void cancel(std::size_t at) {
    std::vector<Operation*> open;
    for (const auto& operation : operations_) {
      if (operation->outcome == Outcome::none) open.push_back(operation.get());
    }
    if (open.empty()) return;
    Operation& operation = *open[at % open.size()];
    tell("cancel", static_cast<int>(at % open.size()));
    operation.signal.emit(asio::cancellation_type::all);
    // A coroutine hears of it on its home; an operation by token at once.
    if (operation.by_token) {
      model_.cancel(operation);
    } else {
      operation.cancel_asked = true;
    }
  }

  void close(std::size_t at) {
    const bool by_sender = at % 2 == 0;
    if (by_sender ? tx_.empty() : rx_.empty()) return;
    if (!end_is_free(by_sender)) return;
    const bool reason = at % 4 >= 2;
    tell("close", reason ? 1 : 0);
    const auto close = [&](const auto& handle) {
      reason ? handle.close(make_error_code(std::errc::network_down)) : handle.close();
    };
    by_sender ? close(tx_[at % tx_.size()]) : close(rx_[at % rx_.size()]);
    model_.close(reason);
  }

  void copy(std::size_t at) {
    if constexpr (copyable) {
      if (at % 2 == 0) {
        if (tx_.empty() || tx_.size() >= most_handles) return;
        tx_.push_back(Tx(tx_[at % tx_.size()]));
        ++model_.senders;
      } else {
        if (rx_.empty() || rx_.size() >= most_handles) return;
        rx_.push_back(Rx(rx_[at % rx_.size()]));
        ++model_.receivers;
      }
      tell("copy", static_cast<int>(at % 2));
    }
  }

  void drop(std::size_t at) {
    const bool sender = at % 2 == 0;
    if ((sender ? tx_.empty() : rx_.empty()) || !end_is_free(sender)) return;
    // A channel that nobody holds any more has nothing to say.
    if (tx_.size() + rx_.size() == 1) return;
    tell("drop", sender ? 0 : 1);
    if (sender) {
      tx_.erase(tx_.begin() + static_cast<std::ptrdiff_t>(at % tx_.size()));
      model_.leave_sender();
    } else {
      rx_.erase(rx_.begin() + static_cast<std::ptrdiff_t>(at % rx_.size()));
      model_.leave_receiver();
    }
  }

  void discard(std::size_t at) {
    if (rx_.empty() || !end_is_free(false)) return;
    tell("discard", 0);
    expect(rx_[at % rx_.size()].discard() == model_.discard(), "discard dropped another number of values");
  }

  void run_ready() {
    while (sim_.ready() != 0) sim_.step();
  }

  /// Runs what is ready, and compares.
  void settle() {
    for (const auto& operation : operations_) {
      if (operation->cancel_asked) model_.cancel(*operation);
      operation->cancel_asked = false;
    }
    run_ready();
    // The handle of a root that ended is gone, which may end others.
    for (bool more = true; more;) {
      more = false;
      for (const auto& operation : operations_) {
        if (operation->expected == Outcome::none || std::exchange(operation->left, true)) continue;
        more = true;
        if (operation->by_token || !copyable) continue;
        const bool sender = operation->kind != Kind::receive && operation->kind != Kind::receive_some;
        sender ? model_.leave_sender() : model_.leave_receiver();
      }
    }
    for (const auto& operation : operations_) compare(*operation);
    std::erase_if(operations_, [](const auto& operation) { return operation->outcome != Outcome::none; });
    compare_stats();
  }

  void compare(const Operation& operation) const {
    if (operation.outcome != operation.expected) {
      fail(std::string("an operation: ") + word(operation.outcome) + " instead of " + word(operation.expected));
    }
    if (operation.outcome == Outcome::none) return;
    expect(operation.got == operation.gets, "an operation received other values");
    if (operation.kind == Kind::send_all) expect(operation.sent == operation.sends, "send_all sent another number");
  }

  void compare_stats() const {
    if (tx_.empty() && rx_.empty()) return;
    const bool closed = tx_.empty() ? rx_[0].closed() : tx_[0].closed();
    const weir::ChannelStats stats = tx_.empty() ? rx_[0].stats() : tx_[0].stats();
    expect(closed == model_.shut(), "closed, or not");
    expect(stats.capacity == capacity_, "another capacity");
    expect(stats.buffered == model_.buffer.size(), "another number of values is buffered");
    expect(stats.reserved == model_.reserved, "another number of permits is out");
    expect(stats.admitted == model_.admitted, "another number of values was admitted");
    expect(stats.received == model_.received, "another number of values was received");
    expect(stats.dropped == model_.dropped, "another number of values was dropped");
    expect(stats.waiting_senders == model_.waiting_senders.size(), "another number of senders waits");
    expect(stats.waiting_receivers == model_.waiting_receivers.size(), "another number of receivers waits");
  }

  /// The permits go, the channel is closed and drained: everything that waits must end.
  void finish() {
    settle();
    while (!permits_.empty()) {
      release_permit(0);
      settle();
    }
    if (!end_is_free(true) && !rx_.empty() && !end_is_free(false)) fail("both ends of a channel wait");
    if (rx_.empty() || !end_is_free(false)) {
      if (!tx_.empty()) {
        tx_[0].close();
        model_.close(false);
      }
    } else {
      rx_[0].close();
      model_.close(false);
    }
    settle();
    while (!rx_.empty() && end_is_free(false) && !model_.buffer.empty()) try_receive(0);
    settle();
    // Roots that received their room as a permit leave it here.
    while (!permits_.empty()) release_permit(0);
    settle();
    expect(unfinished() == 0, "an operation waits on a closed channel");
  }

  weir::sim::Simulator& sim_;
  Model model_;
  std::size_t capacity_;
  weir::Overflow overflow_;
  bool verbose_;
  int step_ = 0;
  int last_number_ = 0;
  bool must_settle_ = false;
  std::vector<Tx> tx_;
  std::vector<Rx> rx_;
  std::vector<HeldPermit> permits_;
  std::vector<std::unique_ptr<Operation>> operations_;
};

/// Runs a program; aborts with a message when channel and model differ.
inline void run_program(std::span<const std::uint8_t> bytes, bool verbose = false) {
  if (bytes.size() < 4) return;
  const std::size_t capacity = 1 + bytes[1] % 5;
  const auto overflow = bytes[2] < 128 ? weir::Overflow::wait : static_cast<weir::Overflow>(bytes[2] % 5);
  const weir::ChannelOptions options{capacity, overflow};
  weir::sim::Simulator sim(bytes[3]);
  const auto play = [&](auto ends) {
    using Ends = decltype(ends);
    Machine<typename Ends::first_type, typename Ends::second_type> machine(sim, std::move(ends), capacity, overflow,
                                                                           verbose);
    machine.run(bytes.subspan(4));
  };
  switch (bytes[0] % 3) {
    case 0:
      return play(weir::make_channel<Value>(sim, options));
    case 1:
      return play(weir::make_local_channel<Value>(sim, options));
    default:
      return play(weir::make_spsc_channel<Value>(sim, options));
  }
}

}  // namespace weir_fuzz
