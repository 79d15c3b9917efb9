/// A home whose posts the test carries out by hand, and steps that say when they run.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include <weir/core/home.hpp>

namespace weir_test {

using Log = std::vector<std::string>;

/// A home without a task, whose posts the test carries out by hand.
class ManualHome final : public weir::Home {
 public:
  explicit ManualHome(asio::io_context& context, int budget = 256, bool plain = false, bool takes_along = true)
      : Home(context, {.budget = budget, .plain = plain, .takes_along = takes_along}) {}

  [[nodiscard]] asio::any_io_executor base_executor() const override { return {}; }
  [[nodiscard]] bool runs_on_this_thread() const noexcept override { return false; }

  /// Carries out the posted drains until none is left; says how many there were.
  int run() {
    retain();
    int drains = 0;
    while (posts != drains_) {
      ++drains_;
      ++drains;
      drain();
    }
    release();
    return drains;
  }
  void abandon_post() {
    ++drains_;
    abandon();
  }

  int posts = 0;
  int finishes = 0;
  int frames_destroyed = 0;
  int handlers_forgotten = 0;
  bool* destroyed = nullptr;

 private:
  void post() noexcept override { ++posts; }
  void finish() noexcept override { ++finishes; }
  void destroy_root() noexcept override { ++frames_destroyed; }
  void forget_handler() noexcept override { ++handlers_forgotten; }
  void forget_executor() noexcept override {}
  void destroy_block() noexcept override {
    if (destroyed) *destroyed = true;
    delete this;
  }

  int drains_ = 0;
};

class Step : public weir::Resumable {
 public:
  Step(Log& log, std::string name) : log_(log), name_(std::move(name)) {
    callback = [](Resumable& self, bool run) noexcept {
      auto& step = static_cast<Step&>(self);
      step.log_.push_back(run ? step.name_ : "dropped " + step.name_);
      if (run && step.then) step.then();
    };
  }
  std::function<void()> then;

 private:
  Log& log_;
  std::string name_;
};

struct Fixture {
  asio::io_context context;
  ManualHome& home = *new ManualHome(context);
  Log log;
  Step a{log, "a"};
  Step b{log, "b"};
  Step c{log, "c"};
  ~Fixture() { home.release(); }
};

}  // namespace weir_test
