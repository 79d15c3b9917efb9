/// Homes under the model checker: an execution context whose posts are run by one of the model's threads.
#pragma once

#include <array>
#include <cstddef>
#include <deque>
#include <memory>
#include <utility>

#include <weir/asio.hpp>

#include "support/model/sync.hpp"

namespace weir_test::model {

/// One thread runs what is posted, in that order. What a home does between two accesses to the model's primitives is
/// one step: its own protocol has tests of its own.
class HomeContext : public asio::execution_context {
 public:
  class executor_type;

  ~HomeContext() {
    shutdown();
    jobs_.clear();
    destroy();
  }
  [[nodiscard]] executor_type get_executor() noexcept;

  void run_one() {
    require(run_ < posted_.size(), "more posts than there is room for");
    posted_[run_++].wait();
    const std::unique_ptr<Job> job = std::move(jobs_.front());
    jobs_.pop_front();
    job->run();
  }

 private:
  struct Job {
    virtual ~Job() = default;
    virtual void run() = 0;
  };

  template <class F>
  void post(F&& f) {
    struct JobOf final : Job {
      explicit JobOf(F&& function) : f(std::forward<F>(function)) {}
      void run() override { f(); }
      std::decay_t<F> f;
    };
    jobs_.push_back(std::make_unique<JobOf>(std::forward<F>(f)));
    require(count_ < posted_.size(), "more posts than there is room for");
    posted_[count_++].signal();
  }

  std::deque<std::unique_ptr<Job>> jobs_;
  std::array<Event, 12> posted_;
  std::size_t count_ = 0;
  std::size_t run_ = 0;
};

class HomeContext::executor_type {
 public:
  explicit executor_type(HomeContext& context) noexcept : context_(&context) {}

  [[nodiscard]] friend bool operator==(const executor_type& a, const executor_type& b) noexcept {
    return a.context_ == b.context_;
  }
  [[nodiscard]] HomeContext& query(asio::execution::context_t) const noexcept { return *context_; }
  [[nodiscard]] static constexpr asio::execution::blocking_t query(asio::execution::blocking_t) noexcept {
    return asio::execution::blocking_t::never_t();
  }
  [[nodiscard]] executor_type require(asio::execution::blocking_t::never_t) const noexcept { return *this; }
  template <class F>
  void execute(F&& f) const {
    context_->post(std::forward<F>(f));
  }
  [[nodiscard]] bool running_in_this_thread() const noexcept { return false; }

 private:
  HomeContext* context_;
};

inline HomeContext::executor_type HomeContext::get_executor() noexcept { return executor_type(*this); }

}  // namespace weir_test::model
