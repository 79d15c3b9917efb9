/// How long a task may hold a thread before others get their turn, for each execution context.
#pragma once

#include <cstdint>
#include <optional>

#include <weir/asio.hpp>
#include <weir/core/error.hpp>
#include <weir/core/root_registry.hpp>

namespace weir {

/// Trivially destructible, so that it can be given in braces.
struct TurnOptions {
  /// How many resumptions and operations done at once a root, with what it wakes to run right after it, may make in one
  /// turn; then it goes to the end of the executor's queue. From 1. A low one is fair, a high one is fast. See
  /// `by_time`.
  int budget = 256;
  /// How long an operation of a channel may look for a thread on the other side before it suspends, in pauses of the
  /// processor (10 to 50 ns each). Not given: 512 where the executor says that several threads run it (see
  /// `threads_of`), and 0 elsewhere. Looking in vain makes a channel look less, and each look counts against the
  /// budget.
  std::optional<std::uint32_t> patience{};
  /// Whether a root that has shown to suspend within microseconds after it woke somebody runs that one itself, when it
  /// suspends, instead of posting it. That spares a hand-off between threads; but one that computes or blocks for long
  /// for once, after it was quick for a while, keeps the woken one waiting meanwhile, though another thread may be
  /// free. Turn it off where a coroutine may block its thread for what another one of the same context does.
  bool run_woken = true;
  /// Whether turns go by time as well, where a processor's counter tells it for next to nothing (x86). The sender of a
  /// stream, and who is alone on its side of a channel, has its budget again until the turn has lasted some 25 to 50
  /// microseconds; and a worker of a stream, whose operations may take long, gives way after eight times that, as does
  /// `yield`. The simulator's never do.
  bool by_time = true;
};

/// Sets the turns of the roots that are spawned from now on in a context (or in that of an executor). The defaults are
/// meant for a server, where nobody may keep others waiting. Before the first root is spawned, or while none is being
/// spawned. Throws `Error(Errc::invalid_argument)` for a budget below 1.
template <ExecutorSource E>
void set_turns(E&& executor, TurnOptions options) {
  if (options.budget < 1) throw Error(Errc::invalid_argument, "a turn's budget must be at least 1");
  auto& registry = asio::use_service<RootRegistry>(context_of(executor_of(executor)));
  registry.set_budget(options.budget);
  registry.set_patience(options.patience);
  registry.set_runs_woken(options.run_woken);
  registry.set_turns_by_time(options.by_time);
}

}  // namespace weir
