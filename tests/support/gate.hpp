// Something that another root opens: for tests of what happens when a wake and a cancel meet. One thread only.
#pragma once

#include <utility>

#include <weir/core/error.hpp>
#include <weir/core/promise.hpp>

namespace weir_test {

class Gate {
 public:
  class Awaiter : public weir::Cancellable {
   public:
    explicit Awaiter(Gate& gate) noexcept : Cancellable(gate_kind()), gate_(gate) {}
    ~Awaiter() {
      if (gate_.waiter_ == this) gate_.waiter_ = nullptr;
    }
    void attach(weir::Promise& promise) {
      if (promise.scope().cancelled()) throw weir::Error(weir::Errc::cancelled);
      promise_ = &promise;
    }
    [[nodiscard]] bool await_ready() const noexcept { return gate_.open_; }
    void await_suspend(std::coroutine_handle<>) noexcept {
      gate_.waiter_ = this;
      promise_->scope().link(*this);
    }
    void await_resume() {
      unlink();
      if (cancelled_) throw weir::Error(weir::Errc::cancelled);
    }

   private:
    friend class Gate;
    static const Kind& gate_kind() noexcept {
      static constexpr Kind kind{[](Cancellable& self) noexcept {
                                   auto& awaiter = static_cast<Awaiter&>(self);
                                   // Completed beats cancelled: an opened gate has let go of its waiter.
                                   if (awaiter.gate_.waiter_ != &awaiter) return;
                                   awaiter.gate_.waiter_ = nullptr;
                                   awaiter.cancelled_ = true;
                                   awaiter.promise_->home().resume_here(awaiter.promise_->resumable());
                                 },
                                 nullptr, "gate"};
      return kind;
    }

    Gate& gate_;
    weir::Promise* promise_ = nullptr;
    bool cancelled_ = false;
  };

  void open() noexcept {
    open_ = true;
    if (Awaiter* const awaiter = std::exchange(waiter_, nullptr)) {
      awaiter->promise_->home().resume_later(awaiter->promise_->resumable());
    }
  }
  [[nodiscard]] Awaiter pass() noexcept { return Awaiter(*this); }

 private:
  bool open_ = false;
  Awaiter* waiter_ = nullptr;
};

}  // namespace weir_test
