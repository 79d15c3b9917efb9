#include <weir/channel/select.hpp>

// The checker's fibers are none that the sanitizers know of, and races are what it looks for itself.
#ifndef WEIR_SANITIZED

#  include <cstddef>
#  include <memory>
#  include <stdexcept>
#  include <string>
#  include <variant>

#  include "support/catch.hpp"
#  include "support/model/explore.hpp"
#  include "support/model/select_world.hpp"

namespace model = weir_test::model;
using model::Bounds;
using model::Event;
using model::Report;
using model::require;
using weir::Task;
using weir::detail::AtOnce;
using weir::detail::WaitState;

namespace {

template <class Build>
void check_both(const char* name, Bounds bounds, std::size_t buffered, const Build& build) {
  const std::string symmetric = std::string(name) + ", symmetric";
  const Report small = model::explore(symmetric.c_str(), bounds, [&] {
    auto world = std::make_unique<model::SelectWorld<true>>(buffered == 0 ? 2 : 1, buffered);
    build(*world);
    return world;
  });
  INFO(symmetric << ": " << small.text());
  CHECK_FALSE(small.found());
  CHECK(small.complete);
  CHECK(small.executions >= 100);
  const std::string asymmetric = std::string(name) + ", asymmetric";
  const Report large = model::explore(asymmetric.c_str(), bounds, [&] {
    auto world = std::make_unique<model::SelectWorld<true>>(65, buffered == 0 ? 0 : 65);
    build(*world);
    return world;
  });
  INFO(asymmetric << ": " << large.text());
  CHECK_FALSE(large.found());
  CHECK(large.complete);
  CHECK(large.executions >= 100);
}

constexpr Bounds usual{};
/// Many take part, who meet under the locks: what stores do that come late is for the others to try.
constexpr Bounds by_turns{.delays = 0};

/// A receive from either channel, and whether it gave a value. No coroutine of its own: its frame would go to another
/// thread's, by an order that the model does not know of.
template <class World>
auto receive_either(World& w) {
  return w.select(w.receive_from(w.a), w.receive_from(w.b));
}
template <class World, class Result>
bool got_value(World& w, const Result& result, std::size_t who = 0) {
  const bool from_a = result.index() == 0;
  const auto& value = from_a ? std::get<0>(result) : std::get<1>(result);
  w.got(from_a ? w.a : w.b, value, who);
  return value.has_value();
}

/// A sender on each channel, from threads of their own.
template <class World>
void send_on_both(World& w) {
  w.threads.push_back([&w] { require(w.a.try_send(1), "there was room"); });
  w.threads.push_back([&w] { require(w.b.try_send(2), "there was room"); });
}

}  // namespace

TEST_CASE("select model: of two values that come at once, one is taken and the other stays") {
  check_both("select once", usual, 0, [](auto& w) {
    w.selects([&w]() -> Task<> { require(got_value(w, co_await receive_either(w)), "nothing was closed"); });
    send_on_both(w);
    w.also = [&w] { w.a.expect(w.a.got[0].size() + w.b.got[0].size() == 1, "not one value was taken"); };
  });
}

TEST_CASE("select model: two selects take both values") {
  check_both("select twice", usual, 0, [](auto& w) {
    w.selects([&w]() -> Task<> {
      require(got_value(w, co_await receive_either(w)), "nothing was closed");
      require(got_value(w, co_await receive_either(w)), "nothing was closed");
    });
    send_on_both(w);
    w.also = [&w] { w.a.expect(w.a.got[0].size() == 1 && w.b.got[0].size() == 1, "a value is missing"); };
  });
}

TEST_CASE("select model: who waits behind a select that lost is not passed over") {
  check_both("select, receive behind it", by_turns, 0, [](auto& w) {
    w.a.add_receiver();
    w.selects([&w]() -> Task<> { require(got_value(w, co_await receive_either(w)), "nothing was closed"); });
    w.threads.push_back([&w] { require(w.a.receive(1), "it was not closed"); });
    w.threads.push_back([&w] {
      require(w.b.try_send(2), "there was room");
      require(w.a.try_send(2), "there was room");
      require(w.a.try_send(2), "there was room");
    });
  });
}

TEST_CASE("select model: two that wait for the same two values get one each") {
  check_both("two selects", by_turns, 0, [](auto& w) {
    for (auto* const channel : {&w.a, &w.b}) channel->add_receiver();
    for (const std::size_t who : {0U, 1U}) {
      w.selects(
          [&w, who]() -> Task<> { require(got_value(w, co_await receive_either(w), who), "nothing was closed"); });
    }
    w.threads.push_back([&w] {
      require(w.a.try_send(2), "there was room");
      require(w.b.try_send(2), "there was room");
    });
    w.also = [&w] {
      for (const std::size_t who : {0U, 1U}) {
        w.a.expect(w.a.got[who].size() + w.b.got[who].size() == 1, "one took both values, or none");
      }
    };
  });
}

TEST_CASE("select model: a close wins or comes too late, and takes no value with it") {
  check_both("select, close", usual, 0, [](auto& w) {
    auto closed = std::make_shared<bool>();
    w.selects([&w, closed]() -> Task<> { *closed = !got_value(w, co_await receive_either(w)); });
    w.threads.push_back([&w] { w.a.core.close(nullptr); });
    w.threads.push_back([&w] { require(w.b.try_send(2), "there was room"); });
    w.also = [&w, closed] { w.b.expect(w.b.got[0].size() == (*closed ? 0U : 1U), "both outcomes, or none"); };
  });
  check_both("select, the other's end", usual, 0, [](auto& w) {
    w.selects([&w]() -> Task<> {
      if (!got_value(w, co_await receive_either(w))) got_value(w, co_await receive_either(w));
    });
    w.threads.push_back([&w] { w.a.drop_sender(); });
    w.threads.push_back([&w] { w.b.drop_sender(); });
  });
}

TEST_CASE("select model: a cancelled select got a value or left it") {
  check_both("select, cancel", usual, 0, [](auto& w) {
    auto cancelled = std::make_shared<bool>();
    w.selects([&w, cancelled]() -> Task<> {
      try {
        require(got_value(w, co_await receive_either(w)), "nothing was closed");
      } catch (const weir::Error&) {
        *cancelled = true;
      }
    });
    w.threads.push_back([&w] {
      require(w.a.try_send(1), "there was room");
      require(w.b.try_send(1), "there was room");
    });
    w.threads.push_back([&w] { w.cancel(); });
    w.also = [&w, cancelled] {
      w.a.expect(w.a.got[0].size() + w.b.got[0].size() == (*cancelled ? 0U : 1U), "not one outcome");
    };
  });
}

TEST_CASE("select model: a value to be sent is moved from by the send that won alone") {
  check_both("select of two sends", usual, 1, [](auto& w) {
    w.selects([&w]() -> Task<> {
      model::Value value(0);
      auto selection = w.select(w.send_to(w.a, value), w.send_to(w.b, value));
      const auto result = co_await std::move(selection);
      ++(result.index() == 0 ? w.a : w.b).sent[0];
    });
    w.threads.push_back([&w] { require(w.a.try_receive(1), "there was a value"); });
    w.threads.push_back([&w] { require(w.b.try_receive(2), "there was a value"); });
  });
  check_both("select of a send and a receive", usual, 1, [](auto& w) {
    w.b.core.discard();
    w.selects([&w]() -> Task<> {
      model::Value value(0);
      auto selection = w.select(w.send_to(w.a, value), w.receive_from(w.b));
      const auto result = co_await std::move(selection);
      if (result.index() == 0) {
        ++w.a.sent[0];
      } else {
        require(value.get() == 0, "it was moved from by a send that lost");
        w.got(w.b, std::get<1>(result));
      }
    });
    w.threads.push_back([&w] { require(w.a.try_receive(1), "there was a value"); });
    w.threads.push_back([&w] { require(w.b.try_send(2), "there was room"); });
  });
}

TEST_CASE("select model: what was claimed for a value that could not be built begins again, and misses nothing") {
  check_both("select, a send that throws", usual, 0, [](auto& w) {
    w.selects([&w]() -> Task<> { require(got_value(w, co_await receive_either(w)), "nothing was closed"); });
    w.threads.push_back([&w] {
      bool thrown = false;
      try {
        w.a.core.send([](void*) { throw std::runtime_error("no value"); }, AtOnce());
      } catch (const std::runtime_error&) {
        thrown = true;
      }
      require(thrown, "it was not told");
    });
    w.threads.push_back([&w] { require(w.b.try_send(2), "there was room"); });
    w.also = [&w] { w.b.expect(w.b.got[0].size() == 1, "it was woken for nothing"); };
  });
}

#endif
