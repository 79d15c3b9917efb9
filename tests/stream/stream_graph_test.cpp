#include <weir/stream/stream_graph.hpp>

#include "support/catch.hpp"

#include <ranges>
#include <stdexcept>
#include <string>
#include <vector>

#include <weir/sim/simulator.hpp>
#include <weir/stream/emits.hpp>
#include <weir/stream/source/interval.hpp>
#include <weir/stream/source/lines_of.hpp>
#include <weir/stream/strategy/parallel.hpp>

#include "support/gate.hpp"

namespace {

using namespace std::chrono_literals;

const auto ignore = [](const auto&) {};
const auto key = [](int n) { return n; };

/// Says nothing of itself.
struct Mine {
  [[nodiscard]] std::size_t concurrency() const { return 3; }
  template <class D>
  weir::Task<> operator()(D& drain) const {
    while (co_await drain.fetch()) {
      while (auto* event = drain.next()) co_await drain.process(*event);
    }
  }
};
struct MineSaid : Mine {
  [[nodiscard]] std::string describe() const { return "mine"; }
};
struct Sum {
  [[nodiscard]] int start() const { return 0; }
  void add(int& sum, int&& n) const { sum += n; }
};
struct Numbers {
  [[nodiscard]] const char* describe() const {
    if (broken) throw std::runtime_error("speechless");
    return "my numbers";
  }
  std::optional<int> operator()() { return std::nullopt; }
  bool broken = false;
};

template <class S>
std::string sender_name(S&& sender) {
  return weir::detail::sender_text<std::string>(sender);
}

}  // namespace

TEST_CASE("stream graph: says what is where before the stream runs, while it does, and after") {
  weir::sim::Simulator sim;
  weir_test::Gate gate;
  auto stream = weir::emits<int>(sim)
                    .named("import")
                    .capacity(2)
                    .sender([](weir::Emitter<int>& out) -> weir::Task<> {
                      for (int i = 1; i <= 6; ++i) co_await out.emit(i);
                    })
                    .receiver([&gate](const auto& event) -> weir::Task<int> {
                      const int value = event.data();
                      if (value == 2) co_await gate.pass();
                      if (value == 1) throw std::runtime_error("bad");
                      co_return value;
                    })
                    .on_error(weir::continue_)
                    .start();
  CHECK(stream.describe() ==
        "stream \"import\": running\n"
        "  sender     a coroutine: 0 emitted\n"
        "  channel    0 of 2 buffered\n"
        "  strategy   serial: 1 worker\n"
        "  errors     continue\n"
        "  collector  list: 0 processed\n");
  // As far as it comes without the gate.
  while (sim.step()) {
  }
  CHECK(stream.describe() ==
        "stream \"import\": running\n"
        "  sender     a coroutine: 4 emitted, 1 waiting for room\n"
        "  channel    2 of 2 buffered\n"
        "  strategy   serial: 1 worker, 1 in progress\n"
        "  errors     continue: 1 failed\n"
        "  collector  list: 0 processed\n");
  const weir::StreamGraph graph = stream.graph();
  CHECK((graph.name == "import" && graph.id == stream.id() && !graph.outcome && graph.stats.balanced()));
  gate.open();
  sim.run();
  CHECK(stream.describe() ==
        "stream \"import\": completed\n"
        "  sender     a coroutine: 6 emitted, ended\n"
        "  channel    0 of 2 buffered\n"
        "  strategy   serial: 0 workers\n"
        "  errors     continue: 1 failed\n"
        "  collector  list: 5 processed\n");
}

TEST_CASE("stream graph: workers that wait for events are shown, and what a cancel discarded") {
  weir::sim::Simulator sim;
  weir_test::Gate gate;
  auto stream = weir::emits<int>(sim)
                    .sender([&gate](weir::Emitter<int>&) -> weir::Task<> { co_await gate.pass(); })
                    .receiver(weir::parallel(2), ignore)
                    .start();
  while (sim.step()) {
  }
  CHECK(stream.graph().workers_waiting == 2);
  CHECK(stream.describe().find("strategy   parallel(2): 2 workers, 2 waiting for events\n") != std::string::npos);
  stream.cancel(weir::CancellationLevel::forceful);
  CHECK(stream.describe().find(": stopping\n") != std::string::npos);
  sim.run();
  CHECK(stream.describe().find("stream " + std::to_string(stream.id()) + ": cancelled\n") == 0);
  CHECK(stream.describe().find("errors") == std::string::npos);
}

TEST_CASE("stream graph: Mermaid draws it, with names that contain what Mermaid reads") {
  weir::StreamGraph graph;
  graph.name = "a \"b\" [c] <i> #1;\n%%{x}";
  graph.sender = "a range";
  graph.strategy = "parallel(2).by_key()";
  graph.collector = "list";
  graph.errors = "retry, dead letters, stop";
  graph.stats.emitted = 9;
  graph.stats.buffered = 3;
  graph.stats.dropped = 1;
  graph.stats.discarded = 1;
  graph.stats.processed = 2;
  graph.stats.dead_lettered = 2;
  graph.channel_capacity = 4;
  graph.senders = 2;
  graph.workers = 2;
  CHECK(weir::to_mermaid(graph) ==
        "flowchart LR\n"
        "  subgraph stream[\"a #34;b#34; #91;c#93; #60;i#62; #35;1#59; #37;#37;#123;x#125;, running\"]\n"
        "    sender[\"sender<br/>a range<br/>9 emitted<br/>2 coroutines\"]\n"
        "    channel[(\"channel<br/>3 of 4 buffered<br/>1 dropped<br/>1 discarded\")]\n"
        "    strategy[\"strategy<br/>parallel(2).by_key()<br/>2 workers\"]\n"
        "    collector[\"collector<br/>list<br/>2 processed\"]\n"
        "    sender --> channel --> strategy --> collector\n"
        "    errors[\"errors<br/>retry, dead letters, stop<br/>2 dead-lettered\"]\n"
        "    strategy -.-> errors\n"
        "  end\n");
  // Without errors there is no such node.
  graph.stats.dead_lettered = 0;
  graph.errors = "stop";
  CHECK(weir::to_mermaid(graph).find("errors") == std::string::npos);
  CHECK(weir::to_text(graph).find("stream \"a \"b\" [c] <i> #1; %%{x}\": running\n") == 0);
}

TEST_CASE("stream graph: senders say what they are") {
  CHECK(sender_name([](weir::Emitter<std::string>&) -> weir::Task<> { co_return; }) == "a coroutine");
  CHECK(sender_name([](weir::Emitter<std::string>&) {}) == "a function");
  CHECK(sender_name([]() -> std::optional<std::string> { return {}; }) == "a function");
  CHECK(sender_name(std::vector<std::string>()) == "a range");
  CHECK(sender_name([]() -> weir::Generator<std::string> { co_return; }) == "a generator");
  CHECK(sender_name(weir::lines_of("a.log")) == "lines of a.log");
  CHECK(weir::detail::sender_text<int>(weir::interval(1500ms)) == "interval(1500ms)");
  CHECK(weir::detail::sender_text<int>(Numbers()) == "my numbers");
  const auto part = [](weir::Emitter<int>&, weir::Partition) -> weir::Task<> { co_return; };
  CHECK(weir::detail::sender_text<int>(weir::detail::PartitionedSender<decltype(part)>{part, 4}) == "4 partitions");
}

TEST_CASE("stream graph: what a description throws is thrown by start") {
  weir::sim::Simulator sim;
  auto builder = weir::emits<int>(sim).sender(Numbers{true}).receiver(ignore);
  CHECK_THROWS_AS(std::move(builder).start(), std::runtime_error);
}

TEST_CASE("stream graph: strategies, collections and error policies say what they are") {
  using weir::detail::policy_text;
  using weir::detail::strategy_text;
  CHECK(strategy_text(weir::serial()) == "serial");
  CHECK(strategy_text(weir::parallel(4).rate_limit(100).ordered()) == "parallel(4).rate_limit(100).ordered()");
  CHECK(strategy_text(weir::parallel(4).rate_limit(0.5, 2).by_key(key)) == "parallel(4).rate_limit(0.5, 2).by_key()");
  CHECK(strategy_text(Mine()) == "a strategy of 3 workers");
  CHECK(strategy_text(MineSaid()) == "mine");

  CHECK(policy_text(weir::collect::list) == "list");
  CHECK(policy_text(weir::collect::list.at_most(3, weir::collect::refuse)) == "list.at_most(3, refuse)");
  CHECK(policy_text(weir::collect::keyed(key, weir::collect::count)) == "keyed, count");
  CHECK(policy_text(weir::collect::fold(0, key)) == "fold");
  CHECK(policy_text(weir::collect::top(3)) == "top(3)");
  CHECK(policy_text(Sum()) == "a policy of one's own");

  auto chain = weir::circuit_breaker().otherwise(weir::retry(weir::RetryPolicy::fixed(1s))).otherwise(weir::continue_);
  weir::sim::Simulator sim;
  auto stream = weir::emits<int>(sim).sender(Numbers()).receiver(ignore).on_error(std::move(chain)).start();
  CHECK(stream.graph().errors == "circuit breaker, retry, continue");
  CHECK(stream.graph().collector == "nothing");
  sim.run();
}
