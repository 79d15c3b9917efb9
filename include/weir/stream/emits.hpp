/// `emits<T>()`: builds a stream and starts it.
#pragma once

#include <chrono>
#include <concepts>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include <weir/asio.hpp>
#include <weir/channel/channel.hpp>
#include <weir/stream/collect.hpp>
#include <weir/stream/detail/chain_handler.hpp>
#include <weir/stream/detail/described.hpp>
#include <weir/stream/detail/pipeline.hpp>
#include <weir/stream/detail/sender_half.hpp>
#include <weir/stream/detail/stream_settings.hpp>
#include <weir/stream/emitting_task.hpp>
#include <weir/stream/error_policy.hpp>
#include <weir/stream/receiver.hpp>
#include <weir/stream/receiver_task.hpp>
#include <weir/stream/sender.hpp>
#include <weir/stream/sender_strategy.hpp>
#include <weir/stream/sender_task.hpp>
#include <weir/stream/strategy/serial.hpp>
#include <weir/stream/strategy/strategy.hpp>

namespace weir {
/// Builds a stream of `T`s: every setting returns the builder, `start()` starts the stream. Made by
/// `emits<T>(executor)`. Settings with plain values may be called on a builder that has a name; those that change its
/// type take it over: `std::move(builder).sender(…)`.
template <class T, class Executor, class SenderFunction = detail::NotSaid, class StrategyType = Serial,
          class ReceiverFunction = detail::NotSaid, class Policy = detail::NotSaid, class Item = detail::NotSaid>
class [[nodiscard("nothing runs before start()")]] StreamBuilder {
 public:
  StreamBuilder(Executor executor, detail::StreamSettings<T> settings, SenderFunction from, StrategyType how,
                ReceiverFunction to, Policy policy)
      : executor_(std::move(executor)),
        settings_(std::move(settings)),
        sender_(std::move(from)),
        strategy_(std::move(how)),
        receiver_(std::move(to)),
        policy_(std::move(policy)) {}

  /// A name for reports.
  StreamBuilder& named(std::string name) & {
    settings_.name = std::move(name);
    return *this;
  }
  StreamBuilder&& named(std::string name) && { return std::move(this->named(std::move(name))); }

  /// How many events may be between the sender and the receivers: in the channel, or taken from it and not begun. 1024
  /// unless said. Throws `Error(Errc::invalid_argument)` for 0.
  StreamBuilder& capacity(std::size_t events) & {
    if (events == 0) throw Error(Errc::invalid_argument, "capacity(0): a stream's capacity must be at least 1");
    settings_.capacity = events;
    return *this;
  }
  StreamBuilder&& capacity(std::size_t events) && { return std::move(this->capacity(events)); }

  /// What to do when a receiver throws: `weir::stop` (the default) or `weir::continue_`; see `ErrorPolicy`.
  StreamBuilder& on_error(ErrorPolicy policy) & noexcept {
    settings_.error_policy = policy;
    settings_.error_handler.reset();
    return *this;
  }
  StreamBuilder&& on_error(ErrorPolicy policy) && noexcept { return std::move(this->on_error(policy)); }
  /// The same with a chain: `weir::retry(policy).otherwise(weir::dead_letter(tx))`; see `ErrorChain`.
  template <class... Links>
  StreamBuilder& on_error(ErrorChain<Links...> chain) & {
    settings_.error_handler =
        std::make_shared<const detail::ChainHandler<T, Links...>>(std::move(chain).links(), context_of(executor_));
    return *this;
  }
  template <class... Links>
  StreamBuilder&& on_error(ErrorChain<Links...> chain) && {
    return std::move(this->on_error(std::move(chain)));
  }
  /// The same with a function that decides: see `ErrorFunction`.
  template <class F>
    requires ErrorFunction<const F, T>
  StreamBuilder& on_error(F function) & {
    return on_error(decide(std::move(function)));
  }
  template <class F>
    requires ErrorFunction<const F, T>
  StreamBuilder&& on_error(F function) && {
    return std::move(this->on_error(decide(std::move(function))));
  }

  /// Cancels the stream forcefully so long after its start, unless it has ended; the outcome is then `timed_out`.
  template <class Rep, class Period>
  StreamBuilder& timeout(std::chrono::duration<Rep, Period> duration) & {
    settings_.timeout = std::chrono::ceil<TimeService::Duration>(duration);
    return *this;
  }
  template <class Rep, class Period>
  StreamBuilder&& timeout(std::chrono::duration<Rep, Period> duration) && {
    return std::move(this->timeout(duration));
  }

  /// Where the events come from: see `FlowSender`, `CoroutineSender`, `FunctionSender`, `PullSender`, `RangeSender`,
  /// `RangeFunctionSender`.
  template <class S>
  [[nodiscard]] auto sender(S&& function) && {
    static_assert(Sender<std::decay_t<S>, T>,
                  "weir::emits<T>().sender(x): x is none of Task<>(Emitter<T>&), void(Emitter<T>&), "
                  "std::optional<T>(), a flow or a range of T, "
                  "or a function that returns one");
    return rebuilt<std::decay_t<S>, StrategyType, ReceiverFunction, Policy, Item>(
        static_cast<S&&>(function), std::move(strategy_), std::move(receiver_), std::move(policy_));
  }

  /// The same with a strategy. `batched(size, max_delay)`: what is emitted is gathered, and goes into the channel as a
  /// run when there are `size`, when the oldest was emitted `max_delay` ago (with 0 nothing is gathered), or when the
  /// sender ends. It counts as emitted, and as buffered, from when it is gathered, and is held beside `capacity`: up to
  /// `size` events. A graceful cancel delivers it, a harder one discards it. `rate_limited(per_second, burst)`: see
  /// `RateLimited`. Both take every sender.
  /// `parallel(n)`: several coroutines at once, `.sender(weir::parallel(4), [](Emitter<T>&, Partition) -> Task<> {…})`;
  /// see `PartitionSender`. Each one's events keep their order. The sender has ended when all have; what one of them
  /// throws stops the others, and ends the stream as failed after what was emitted has been processed. Partitions may
  /// have a rate, which they share, `parallel(n).rate_limit(…)` or `rate_limited(…).parallel(n)`, or gather,
  /// `batched(…).parallel(n)`, each by itself. Throws `Error(Errc::invalid_argument)` for what is for receivers only.
  template <class Strategy, class F>
  [[nodiscard]] auto sender(Strategy how, F&& function) && {
    static_assert(
        detail::SenderStrategy<Strategy>,
        "weir::emits<T>().sender(strategy, f): the first is none of parallel, batched, rate_limited, adaptive");
    using Function = std::decay_t<F>;
    detail::EmitPlan plan = detail::emit_plan(how);
    if constexpr (PartitionSender<Function, T>) {
      using Partitioned = detail::PartitionedSender<Function>;
      return rebuilt<Partitioned, StrategyType, ReceiverFunction, Policy, Item>(
          Partitioned{static_cast<F&&>(function), detail::partitions_of(how), std::move(plan)}, std::move(strategy_),
          std::move(receiver_), std::move(policy_));
    } else {
      static_assert(!std::same_as<Strategy, Parallel>,
                    "weir::emits<T>().sender(parallel(n), f): f is not Task<>(Emitter<T>&, Partition)");
      static_assert(Sender<Function, T>,
                    "weir::emits<T>().sender(strategy, x): x is none of Task<>(Emitter<T>&), void(Emitter<T>&), "
                    "std::optional<T>(), a flow or a range of T, a function that returns one, or "
                    "Task<>(Emitter<T>&, Partition)");
      detail::refuse_partitions(how);
      using Planned = detail::PlannedSender<Function>;
      return rebuilt<Planned, StrategyType, ReceiverFunction, Policy, Item>(
          Planned{static_cast<F&&>(function), std::move(plan)}, std::move(strategy_), std::move(receiver_),
          std::move(policy_));
    }
  }

  /// The same with as many partitions at a time as give the best throughput: `.sender(weir::adaptive({…}),
  /// weir::partitions(1000), [](Emitter<T>&, Partition) -> Task<> {…})`. Partitions are begun in their order, and each
  /// runs to its end: one after another by each of the workers, which `adaptive` adds and holds as it does with those
  /// of receivers. A worker that is to be held waits in the emit that its partition is at; it goes on, when there is
  /// need of it again, before a new one is started. Throughput is what is emitted in all; a worker is busy while its
  /// partition brings forth the next event, and idle while it waits for room: where the receivers are too slow, no
  /// more partitions are begun than these can take. Once no partition is left to begin, those that were held go on. The
  /// copy of the strategy that you keep tells what was decided, and why. Fewer partitions than workers leave some
  /// workers with nothing to do; if it is not said, there are as many as `max_concurrency`. Their coroutines allocate
  /// nothing for an event.
  template <class F>
  [[nodiscard]] auto sender(Adaptive how, Partitions count, F&& function) && {
    static_assert(PartitionSender<std::decay_t<F>, T>,
                  "weir::emits<T>().sender(adaptive({...}), f): f is not Task<>(Emitter<T>&, Partition)");
    using Sending = detail::AdaptiveSender<std::decay_t<F>>;
    return rebuilt<Sending, StrategyType, ReceiverFunction, Policy, Item>(
        Sending(static_cast<F&&>(function), std::move(how), count.count()), std::move(strategy_), std::move(receiver_),
        std::move(policy_));
  }
  template <class F>
  [[nodiscard]] auto sender(Adaptive how, F&& function) && {
    const std::size_t most = how.concurrency();
    return std::move(*this).sender(std::move(how), Partitions(most), static_cast<F&&>(function));
  }

  /// Who processes them, one after another.
  template <class R>
  [[nodiscard]] auto receiver(R&& function) && {
    return std::move(*this).receiver(Serial(), static_cast<R&&>(function));
  }
  /// Who processes them, and how: `weir::serial()`, `weir::parallel(n)`, or a strategy of one's own.
  template <class S, class R>
  [[nodiscard]] auto receiver(S strategy, R&& function) && {
    static_assert(Strategy<S>,
                  "weir::emits<T>().receiver(strategy, function): the first is no strategy; see weir/stream/strategy/");
    return rebuilt<SenderFunction, S, std::decay_t<R>, Policy, Item>(std::move(sender_), std::move(strategy),
                                                                     static_cast<R&&>(function), std::move(policy_));
  }

  /// What becomes of what the receivers return: a policy of `weir::collect` or one's own. `collect::list` unless said.
  template <class P>
  [[nodiscard]] auto collect(P policy) && {
    return rebuilt<SenderFunction, StrategyType, ReceiverFunction, P, Item>(std::move(sender_), std::move(strategy_),
                                                                            std::move(receiver_), std::move(policy));
  }

  /// Says what type is collected, where it can't be deduced: a receiver that is a template over its collector.
  template <class C>
  [[nodiscard]] auto collecting() && {
    return rebuilt<SenderFunction, StrategyType, ReceiverFunction, Policy, C>(std::move(sender_), std::move(strategy_),
                                                                              std::move(receiver_), std::move(policy_));
  }

  /// For who starts the stream to do something else with what its receiver returns: the receiver that `make(receiver)`
  /// gives in its place. See `results_of`.
  template <class Make>
  [[nodiscard]] auto with_receiver(Make make) && {
    auto made = make(std::move(receiver_));
    return rebuilt<SenderFunction, StrategyType, decltype(made), Policy, detail::NotSaid>(
        std::move(sender_), std::move(strategy_), std::move(made), std::move(policy_));
  }
  [[nodiscard]] const Executor& executor() const noexcept { return executor_; }

  /// Starts the stream and gives its handle, an `EmittingTask<T, C, Collection>`. Nothing of it runs inside this call.
  /// Allocates the stream: afterwards serial and parallel streams with plain receivers allocate nothing for an event.
  [[nodiscard]] auto start() && {
    static_assert(detail::said<SenderFunction>,
                  "weir::emits<T>(...).start(): the stream has no sender; call .sender(...) first");
    static_assert(detail::said<ReceiverFunction>,
                  "weir::emits<T>(...).start(): the stream has no receiver; call .receiver(...) first");
    if constexpr (detail::said<SenderFunction> && detail::said<ReceiverFunction>) {
      return with_item([this]<class C>(std::type_identity<C>) { return std::move(*this).template start_all<C>(); });
    }
  }

  /// Starts the sender alone, into a channel of one's own, and gives a `SenderTask<T>`. The channel carries `T`s, or
  /// `SenderEvent<T>`s, which keep their number and time up to a `start_from`. What is said of receivers before is not
  /// used, nor is `capacity`. Throws `Error(Errc::empty_handle)` for an empty handle. As `start()` otherwise.
  template <class Element>
  [[nodiscard]] SenderTask<T> start_into(ChannelSender<Element> tx) && {
    static_assert(std::same_as<Element, T> || std::same_as<Element, SenderEvent<T>>,
                  "weir::emits<T>(...).start_into(tx): tx is neither ChannelSender<T> nor "
                  "ChannelSender<SenderEvent<T>>");
    static_assert(detail::said<SenderFunction>,
                  "weir::emits<T>(...).start_into(tx): there is no sender; call .sender(...) first");
    static_assert(
        !detail::said<ReceiverFunction>,
        "weir::emits<T>(...).start_into(tx): the receiver would get nothing; it is what start_from(rx) is for");
    if (!tx) throw Error(Errc::empty_handle, "start_into(tx): the channel's handle is empty");
    using Running = detail::SenderHalf<T, Executor, Element>;
    StreamGraph parts;
    parts.sender = detail::sender_text<T>(sender_);
    auto running = std::make_shared<Running>(std::move(settings_.name), executor_, std::move(tx));
    running->set_parts(std::move(parts));
    Running::start(running, std::move(sender_), settings_.timeout);
    return SenderTask<T>(std::move(running));
  }

  /// Starts the receivers alone, from a channel of one's own, and gives a `ReceiverTask<T, C, Collection>`. See
  /// `start_into`.
  template <class Element>
  [[nodiscard]] auto start_from(ChannelReceiver<Element> rx) && {
    static_assert(std::same_as<Element, T> || std::same_as<Element, SenderEvent<T>>,
                  "weir::emits<T>(...).start_from(rx): rx is neither ChannelReceiver<T> nor "
                  "ChannelReceiver<SenderEvent<T>>");
    static_assert(
        !detail::said<SenderFunction>,
        "weir::emits<T>(...).start_from(rx): the sender would not be started; it is what start_into(tx) is for");
    static_assert(detail::said<ReceiverFunction>,
                  "weir::emits<T>(...).start_from(rx): there is no receiver; call .receiver(...) first");
    if (!rx) throw Error(Errc::empty_handle, "start_from(rx): the channel's handle is empty");
    if constexpr (detail::said<ReceiverFunction>) {
      return with_item([this, &rx]<class C>(std::type_identity<C>) {
        return std::move(*this).template start_receiving<C>(std::move(rx));
      });
    }
  }

 private:
  static constexpr bool in_batches = detail::in_batches<StrategyType>;
  using Input = detail::receiver_input_t<T, in_batches>;

  template <class S, class St, class R, class P, class I>
  auto rebuilt(S from, St how, R to, P policy) {
    return StreamBuilder<T, Executor, S, St, R, P, I>(std::move(executor_), std::move(settings_), std::move(from),
                                                      std::move(how), std::move(to), std::move(policy));
  }

  template <class Start>
  auto with_item(Start start) {
    using ItemOf = detail::item_of<ReceiverFunction, Input, Item>;
    constexpr bool deduced =
        requires { typename ItemOf::type; } && !std::same_as<typename ItemOf::type, detail::NotSaid>;
    constexpr bool alone = detail::TakesInput<ReceiverFunction, Input>;
    static_assert(alone || deduced || detail::said<Item>,
                  "weir::emits<T>(...).start(): the receiver takes neither (event) nor (event, collector), or it is "
                  "a template over "
                  "its collector: say what is collected with .collecting<C>()");
    if constexpr (alone || deduced) return start(std::type_identity<typename ItemOf::type>());
  }

  template <class C>
  using ActualPolicy = detail::policy_or_default_t<Policy, C>;
  template <class C>
  using CollectionOf = collect::collection_t<ActualPolicy<C>, detail::item_t<C>>;

  template <class C>
  auto start_all() && {
    using Running = RunningOf<C, SenderEvent<T>, false>;
    const typename Running::Room room(settings_.capacity, strategy_);
    auto [tx, rx] = make_channel<SenderEvent<T>>(executor_, {.capacity = room.channel});
    auto running = make_running<C, Running>(std::move(tx), std::move(rx), room);
    Running::start(running, std::move(sender_), std::move(strategy_), settings_.timeout);
    return EmittingTask<T, C, CollectionOf<C>>(std::move(running));
  }
  template <class C, class Element>
  auto start_receiving(ChannelReceiver<Element> rx) && {
    using Running = RunningOf<C, Element, true>;
    const typename Running::Room room(settings_.capacity, strategy_);
    auto running = make_running<C, Running>({}, std::move(rx), room);
    Running::start_receiving(running, std::move(strategy_), settings_.timeout);
    return ReceiverTask<T, C, CollectionOf<C>>(std::move(running));
  }

  template <class C, class Element, bool Joined>
  static auto running_of() {
    static_assert(
        collect::Policy<ActualPolicy<C>, detail::item_t<C>>,
        "weir::emits<T>(...).start(): the collection policy takes no items of the type that the receiver returns");
    using Collection = CollectionOf<C>;
    static_assert(detail::TakesInput<ReceiverFunction, Input> ||
                      detail::TakesInputAndCollector<ReceiverFunction, Input, C, Collection>,
                  "weir::emits<T>(...).start(): the receiver can't be called with (event), nor with (event, "
                  "Collector<C, Collection>&); in batches the event is a std::span<ReceiverEvent<T>>");
    return std::type_identity<
        detail::Pipeline<T, C, Collection, ReceiverFunction, Executor, Element, in_batches, Joined>>();
  }
  template <class C, class Element, bool Joined>
  using RunningOf = typename decltype(running_of<C, Element, Joined>())::type;

  template <class C, class Running, class Element = typename Running::element_type>
  std::shared_ptr<Running> make_running(ChannelSender<Element> tx, ChannelReceiver<Element> rx,
                                        const typename Running::Room& room) {
    StreamGraph parts;
    if constexpr (detail::said<SenderFunction>) parts.sender = detail::sender_text<T>(sender_);
    parts.strategy = detail::strategy_text(strategy_);
    parts.errors = detail::errors_text(settings_.error_policy, settings_.error_handler);
    if constexpr (detail::said<Policy>) {
      parts.collector = detail::policy_text(policy_);
    } else {
      parts.collector = detail::policy_text(ActualPolicy<C>());
    }
    using Gathered = Collector<C, CollectionOf<C>>;
    Gathered collector = [&] {
      if constexpr (detail::said<Policy>) {
        return Gathered(std::move(policy_));
      } else {
        return Gathered(ActualPolicy<C>());
      }
    }();
    auto running = std::make_shared<Running>(std::move(settings_.name), executor_, std::move(collector),
                                             std::move(receiver_), settings_.error_policy,
                                             std::move(settings_.error_handler), std::move(tx), std::move(rx), room);
    running->set_parts(std::move(parts));
    return running;
  }

  Executor executor_;
  detail::StreamSettings<T> settings_;
  SenderFunction sender_;
  StrategyType strategy_;
  ReceiverFunction receiver_;
  Policy policy_;
};

/// Begins a stream of `T`s on `executor`, an executor or an execution context. `T` is any movable type.
///
///     auto stream = weir::emits<int>(pool).sender(std::views::iota(0, 1000)).receiver(weir::parallel(4),
///     work).start();
template <class T, ExecutorSource E>
[[nodiscard]] auto emits(E&& executor) {
  static_assert(
      std::is_object_v<T> && std::move_constructible<T>,
      "weir::emits<T>: events carry movable objects: for a reference use a pointer or std::reference_wrapper");
  auto where = executor_of(static_cast<E&&>(executor));
  return StreamBuilder<T, decltype(where)>(std::move(where), {}, {}, {}, {}, {});
}

}  // namespace weir
