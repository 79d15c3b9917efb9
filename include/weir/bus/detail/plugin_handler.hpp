/// The handlers of a plugin, between the bus and it.
#pragma once

#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include <weir/bus/detail/plugin_core.hpp>
#include <weir/core/this_task.hpp>
#include <weir/core/with_cancellation.hpp>

namespace weir::detail {

/// What the bus knows of a plugin's handler: the host's, and empty when the plugin's has gone.
class PluginHandler final : public BusHandler {
 public:
  PluginHandler(PluginCore& core, std::unique_ptr<BusHandler> handler);
  ~PluginHandler() override;

  bool wants(const Event& event) override;
  bool call(EventContext& context) override;
  Task<> call_later(EventContext& context) override;
  /// What the plugin's handler did when the plugin was there cannot be undone when it is not.
  Task<> compensate(const Event& event) override;

 private:
  friend class PluginCore;

  /// What a handler publishes by its context is the plugin's.
  class Acting {
   public:
    Acting(EventContext& context, PluginCore& core) noexcept : running_(context.running()) {
      running_.publisher = &core;
    }
    Acting(const Acting&) = delete;
    Acting& operator=(const Acting&) = delete;
    ~Acting() { running_.publisher = nullptr; }

   private:
    RunningEvent& running_;
  };

  /// Keeps the handler for a call.
  class Call {
   public:
    explicit Call(PluginHandlerBox* box) noexcept : box_(box) {}
    Call(Call&& other) noexcept : box_(std::exchange(other.box_, nullptr)) {}
    Call& operator=(Call&&) = delete;
    ~Call() {
      if (box_) box_->core->release(*box_);
    }
    [[nodiscard]] explicit operator bool() const noexcept { return box_ != nullptr; }
    [[nodiscard]] BusHandler& handler() const noexcept { return *box_->handler; }
    [[nodiscard]] PluginCore& core() const noexcept { return *box_->core; }

   private:
    PluginHandlerBox* box_;
  };

  static Task<> run(Call call, EventContext& context);
  static Task<> undo(Call call, const Event& event);

  const PluginHold core_;
  PluginHandlerBox* box_ = nullptr;
  PluginHandler* prev_ = nullptr;
  PluginHandler* next_ = nullptr;
};

inline void PluginCore::add(PluginHandler& handler, std::unique_ptr<PluginHandlerBox> box) {
  const std::lock_guard lock(mutex_);
  if (!enter()) refuse();
  handler.box_ = box.release();
  handler.next_ = handlers_;
  if (handlers_) handlers_->prev_ = &handler;
  handlers_ = &handler;
  ++stats_.handlers;
}
inline void PluginCore::remove(PluginHandler& handler) noexcept {
  PluginHandlerBox* box = nullptr;
  {
    const std::lock_guard lock(mutex_);
    (handler.prev_ ? handler.prev_->next_ : handlers_) = handler.next_;
    if (handler.next_) handler.next_->prev_ = handler.prev_;
    box = std::exchange(handler.box_, nullptr);
  }
  if (box) release(*box);
}
inline PluginHandlerBox* PluginCore::take(PluginHandler& handler) noexcept {
  const std::lock_guard lock(mutex_);
  if (handler.box_) handler.box_->refs.fetch_add(1, std::memory_order_relaxed);
  return handler.box_;
}
inline void PluginCore::drop_boxes() noexcept {
  for (;;) {
    PluginHandlerBox* box = nullptr;
    {
      const std::lock_guard lock(mutex_);
      PluginHandler* handler = handlers_;
      while (handler && !handler->box_) handler = handler->next_;
      if (!handler) return;
      box = std::exchange(handler->box_, nullptr);
    }
    release(*box);
  }
}

inline PluginHandler::PluginHandler(PluginCore& core, std::unique_ptr<BusHandler> handler) : core_(core) {
  pattern = handler->pattern;
  phase = handler->phase;
  once = handler->once;
  parallel = handler->parallel;
  has_predicate = handler->has_predicate;
  is_coroutine = handler->is_coroutine;
  has_compensator = handler->has_compensator;
  wants_last_value = handler->wants_last_value;
  owner = &core;
  auto box = std::make_unique<PluginHandlerBox>();
  box->handler = std::move(handler);
  box->core = &core;
  core.add(*this, std::move(box));
}
inline PluginHandler::~PluginHandler() { core_->remove(*this); }

inline bool PluginHandler::wants(const Event& event) {
  const Call call(core_->take(*this));
  if (!call) return false;
  const PluginRun run(call.core(), PluginStuck::Kind::handler, pattern, event.id(), nullptr);
  std::exception_ptr thrown;
  try {
    return call.handler().wants(event);
  } catch (...) {
    thrown = std::current_exception();
  }
  throw core_->translate(std::exchange(thrown, nullptr));
}

inline bool PluginHandler::call(EventContext& context) {
  const Call call(core_->take(*this));
  if (!call) return false;
  const PluginRun run(call.core(), PluginStuck::Kind::handler, pattern, context.id(), nullptr);
  const Acting acting(context, call.core());
  try {
    return call.handler().call(context);
  } catch (...) {
    throw core_->translate(std::current_exception());
  }
}
inline Task<> PluginHandler::call_later(EventContext& context) {
  Call call(core_->take(*this));
  return call ? run(std::move(call), context) : Task<>();
}

inline Task<> PluginHandler::run(Call call, EventContext& context) {
  PluginCore& core = call.core();
  const Home& home = co_await this_task::home();
  std::optional<Error> failure;
  {
    const PluginRun run(core, PluginStuck::Kind::handler, call.handler().pattern, context.id(), &home);
    const Acting acting(context, core);
    try {
      Task<> task = call.handler().call_later(context);
      auto guarded = with_cancellation(core.late_.token(), std::move(task));
      co_await guarded;
    } catch (...) {
      failure = core.translate(std::current_exception());
    }
  }
  if (failure) throw Error(*failure);
}

inline Task<> PluginHandler::compensate(const Event& event) {
  Call call(core_->take(*this));
  if (!call) core_->refuse();
  return undo(std::move(call), event);
}

inline Task<> PluginHandler::undo(Call call, const Event& event) {
  PluginCore& core = call.core();
  const Home& home = co_await this_task::home();
  std::optional<Error> failure;
  {
    const PluginRun run(core, PluginStuck::Kind::handler, call.handler().pattern, event.id(), &home);
    try {
      Task<> undoing = call.handler().compensate(event);
      if (undoing) co_await std::move(undoing);
    } catch (...) {
      failure = core.translate(std::current_exception());
    }
  }
  if (failure) throw Error(*failure);
}

}  // namespace weir::detail
