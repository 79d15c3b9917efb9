#include <weir/stream/emits.hpp>

#include "support/catch.hpp"

#include <string>
#include <vector>

#include <weir/stream/strategy/parallel.hpp>

#include "stream/run.hpp"

namespace {

weir::Errc errc_of(const std::function<void()>& call, std::string& message) {
  try {
    call();
  } catch (const weir::Error& error) {
    message = error.what();
    return static_cast<weir::Errc>(error.code().value());
  }
  return {};
}

}  // namespace

TEST_CASE("emits: a capacity of 0, and no workers, are refused where they are said") {
  weir::sim::Simulator sim;
  std::string message;
  CHECK(errc_of([&] { static_cast<void>(weir::emits<int>(sim).capacity(0)); }, message) ==
        weir::Errc::invalid_argument);
  CHECK(message.find("capacity(0)") != std::string::npos);
  CHECK(errc_of([&] { static_cast<void>(weir::parallel(0)); }, message) == weir::Errc::invalid_argument);
  CHECK(message.find("parallel(0)") != std::string::npos);
}

TEST_CASE("emits: settings on a builder with a name, and in one expression") {
  weir::sim::Simulator sim;
  auto builder = weir::emits<int>(sim);
  builder.named("mine").capacity(1).on_error(weir::continue_);
  auto stream = std::move(builder)
                    .sender(std::vector{1, 2, 3})
                    .collect(weir::collect::count)
                    .receiver(weir::parallel(8),
                              [](const auto& e) {
                                if (e.data() == 2) throw std::runtime_error("two");
                                return e.data();
                              })
                    .start();
  CHECK(stream.name() == "mine");
  const auto final = weir_test::final_of(sim, stream);
  CHECK(final.name() == "mine");
  CHECK(final.task_id() == stream.id());
  CHECK(final.collected() == 2);
  CHECK(final.stats().failed == 1);
}

TEST_CASE("emits: a capacity of 1, by every strategy") {
  const auto run = [](auto strategy) {
    weir::sim::Simulator sim(5);
    auto stream = weir::emits<int>(sim)
                      .capacity(1)
                      .sender(std::vector{3, 1, 2})
                      .receiver(strategy, [](const auto& e) { return e.data(); })
                      .collect(weir::collect::set)
                      .start();
    return weir_test::final_of(sim, stream).collected() == std::set{1, 2, 3};
  };
  CHECK(run(weir::serial()));
  CHECK(run(weir::parallel(3)));
  CHECK(run(weir::parallel(3).ordered()));
  CHECK(run(weir::parallel(3).by_key([](int i) { return i; })));
}

TEST_CASE("emits: what is a sender, and what is not") {
  STATIC_REQUIRE(weir::Sender<std::vector<int>, int>);
  STATIC_REQUIRE(weir::CoroutineSender<weir::Task<> (*)(weir::Emitter<int>&), int>);
  STATIC_REQUIRE(weir::FunctionSender<void (*)(weir::Emitter<int>&), int>);
  STATIC_REQUIRE_FALSE(weir::Sender<int, int>);
  STATIC_REQUIRE_FALSE(weir::Sender<std::vector<std::string>, int>);
  STATIC_REQUIRE_FALSE(weir::Sender<void (*)(), int>);
}
