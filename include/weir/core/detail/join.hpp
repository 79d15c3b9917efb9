/// Children that run beside each other on the home of the one that awaits them.
#pragma once

#include <cassert>
#include <cstddef>
#include <exception>
#include <functional>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

#include <weir/core/promise.hpp>
#include <weir/core/task.hpp>

namespace weir::detail {

/// What an awaiter and its children share. All of it happens on one home, so nothing here is locked. It can be moved
/// until it has started.
class Join {
 public:
  static constexpr std::size_t none = static_cast<std::size_t>(-1);
  enum class Decides : bool { first_error, first_end };

  explicit Join(Decides rule) noexcept : rule_(rule) {}
  Join(Join&& other) noexcept : rule_(other.rule_), parent_(other.parent_) { assert(!other.scope_); }
  Join& operator=(Join&&) = delete;

  void attach(Promise& parent) noexcept { parent_ = &parent; }
  void start(std::size_t children) noexcept {
    pending_ = children;
    scope_.emplace(parent_->scope());
  }

  [[nodiscard]] Home& home() const noexcept { return parent_->home(); }
  [[nodiscard]] CancelScope& scope() noexcept { return *scope_; }
  /// Which child has decided: `none` if no error has.
  [[nodiscard]] std::size_t decided() const noexcept { return decided_; }

  /// On the home, when a child has ended. The last one wakes the parent.
  void ended(std::size_t index, bool failed) noexcept {
    if (decided_ == none && (failed || rule_ == Decides::first_end)) {
      decided_ = index;
      scope_->cancel();
    }
    if (--pending_ == 0) home().resume_next(parent_->resumable());
  }

 private:
  Decides rule_;
  Promise* parent_ = nullptr;
  std::optional<CancelScope> scope_;
  std::size_t pending_ = 0;
  std::size_t decided_ = none;
};

/// How a result is kept in a tuple, a variant or a vector.
template <class T>
struct Stored {
  using type = T;
};
template <>
struct Stored<void> {
  using type = std::monostate;
};
template <class T>
struct Stored<T&> {
  using type = std::reference_wrapper<T>;
};
template <class T>
using stored_t = typename Stored<T>::type;

/// One child: its frame, and what the home runs when it has ended. No allocation besides the frame.
template <class T>
class Child : public Resumable {
 public:
  explicit Child(Task<T>&& task) noexcept : task_(std::move(task)) {}
  Child(Child&& other) noexcept : task_(std::move(other.task_)) { assert(!other.join_); }
  Child& operator=(Child&&) = delete;
  ~Child() {
    // Its frame is destroyed where it waits, with the root: the end of it may be in the queue.
    if (join_ && !ended_) join_->home().forget(*this);
  }

  [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(task_); }

  void start(Join& join, std::size_t index) noexcept {
    join_ = &join;
    index_ = index;
    callback = &on_end;
    Promise& promise = task_.handle().promise();
    promise.place(join.home(), join.scope(), this);
    join.home().resume_here(promise.resumable());
  }

  [[nodiscard]] std::exception_ptr error() const noexcept { return task_.handle().promise().result().error(); }
  stored_t<T> take() {
    if constexpr (std::is_void_v<T>) {
      task_.handle().promise().result().get();
      return {};
    } else {
      return stored_t<T>(task_.handle().promise().result().get());
    }
  }

 private:
  static void on_end(Resumable& self, bool run) noexcept {
    Child& child = static_cast<Child&>(self);
    child.ended_ = true;
    if (run) child.join_->ended(child.index_, child.error() != nullptr);
  }

  Task<T> task_;
  Join* join_ = nullptr;
  std::size_t index_ = 0;
  bool ended_ = false;
};

}  // namespace weir::detail
