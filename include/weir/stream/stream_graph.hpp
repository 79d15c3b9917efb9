/// A picture of a stream: what it is made of, and how much is where.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include <weir/stream/detail/brief.hpp>
#include <weir/stream/final_event.hpp>
#include <weir/stream/stats.hpp>

namespace weir {

/// What can say what it is: an optional member `describe()` of a sender, a strategy or a collection policy, also of the
/// user's own. It is called once, by `start()`, before anything runs: what it throws, `start()` throws.
template <class X>
concept Described = requires(const X& x) {
  { x.describe() } -> std::convertible_to<std::string>;
};

/// What `EmittingTask::graph()` gives: the facts, to print them as one likes. `to_text` and `to_mermaid` print them.
struct StreamGraph {
  std::string name;       ///< empty unless `named(…)` said it
  std::uint64_t id = 0;   ///< of the stream
  std::string sender;     ///< what each says of itself; if nothing, its kind: "a coroutine", "a range"
  std::string strategy;   ///< "parallel(4).ordered()"; "a strategy of 4 workers" if it says nothing
  std::string collector;  ///< the collection policy: "list"
  std::string errors;     ///< what is done about them: "stop", "retry, dead letters, continue"
  StreamStatus status = StreamStatus::running;
  std::optional<Outcome> outcome;  ///< once it is complete
  StreamStats stats;
  std::size_t channel_capacity = 0;  ///< of the stream's capacity what workers don't take ahead, or keep for later
  std::size_t senders = 0;           ///< coroutines of the sender that have not ended
  std::size_t senders_waiting = 0;   ///< for room in the channel
  std::size_t workers = 0;           ///< of the strategy, that have not ended
  std::size_t workers_waiting = 0;   ///< for an event
};

namespace detail {

struct GraphNode {
  std::string_view role;
  std::string_view what;
  std::vector<std::string> counts;
};

struct GraphNodes {
  explicit GraphNodes(const StreamGraph& graph) {
    const StreamStats& stats = graph.stats;
    const auto add = [](GraphNode& to, std::uint64_t n, std::string_view what) {
      if (n != 0) to.counts.push_back(fmt::format("{} {}", n, what));
    };
    sender.counts.push_back(fmt::format("{} emitted", stats.emitted));
    if (graph.senders > 1) sender.counts.push_back(counted(graph.senders, "coroutine"));
    add(sender, graph.senders_waiting, "waiting for room");
    if (graph.senders == 0) sender.counts.emplace_back("ended");
    channel.counts.push_back(fmt::format("{} of {} buffered", stats.buffered, graph.channel_capacity));
    add(channel, stats.dropped, "dropped");
    add(channel, stats.discarded, "discarded");
    strategy.counts.push_back(counted(graph.workers, "worker"));
    add(strategy, graph.workers_waiting, "waiting for events");
    add(strategy, stats.in_progress, "in progress");
    add(errors, stats.failed, "failed");
    add(errors, stats.dead_lettered, "dead-lettered");
    collector.counts.push_back(fmt::format("{} processed", stats.processed));
    sender.what = graph.sender;
    strategy.what = graph.strategy;
    errors.what = graph.errors;
    collector.what = graph.collector;
    has_errors = !errors.counts.empty() || (graph.errors != "stop" && !graph.errors.empty());
  }

  GraphNode sender{"sender", {}, {}};
  GraphNode channel{"channel", {}, {}};
  GraphNode strategy{"strategy", {}, {}};
  GraphNode errors{"errors", {}, {}};
  GraphNode collector{"collector", {}, {}};
  bool has_errors = false;
};

[[nodiscard]] inline std::string_view state_of(const StreamGraph& graph) noexcept {
  if (graph.outcome) return to_string(*graph.outcome);
  return to_string(graph.status);
}

/// So that a text stays on its line.
[[nodiscard]] inline std::string on_one_line(std::string_view text) {
  std::string line(text);
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  return line;
}

/// Within quotes Mermaid leaves alone what is neither an entity, nor HTML, nor Markdown, nor a directive.
[[nodiscard]] inline std::string mermaid_escaped(std::string_view text) {
  constexpr std::string_view special = R"("#&<>`%;:\[]{})";
  std::string escaped;
  for (const char c : on_one_line(text)) {
    if (special.find(c) == std::string_view::npos) {
      escaped += c;
    } else {
      escaped += fmt::format("#{};", static_cast<int>(c));
    }
  }
  return escaped;
}

}  // namespace detail

/// A few lines, for a log or a terminal:
///
///     stream "import": running
///       sender     a range: 12 emitted, 1 waiting for room
///       channel    4 of 4 buffered
///       strategy   parallel(2): 2 workers, 2 in progress
///       errors     retry, stop: 1 failed
///       collector  list: 5 processed
///
/// Counts that are 0 are left out but for the first of each line; the line of errors comes where a policy was said, or
/// something has failed. Allocates.
[[nodiscard]] inline std::string to_text(const StreamGraph& graph) {
  const detail::GraphNodes nodes(graph);
  std::string text = graph.name.empty() ? fmt::format("stream {}", graph.id)
                                        : fmt::format("stream \"{}\"", detail::on_one_line(graph.name));
  text += fmt::format(": {}\n", detail::state_of(graph));
  const auto line = [&text](const detail::GraphNode& node) {
    text += fmt::format("  {:<9}  {}", node.role, detail::on_one_line(node.what));
    std::string_view between = node.what.empty() ? "" : ": ";
    for (const std::string& count : node.counts) {
      text += fmt::format("{}{}", between, count);
      between = ", ";
    }
    text += '\n';
  };
  line(nodes.sender);
  line(nodes.channel);
  line(nodes.strategy);
  if (nodes.has_errors) line(nodes.errors);
  line(nodes.collector);
  return text;
}

/// The same as a Mermaid flowchart, which Markdown viewers draw: sender, channel, strategy and collector from the left
/// to the right, and the errors beside. Names may contain anything. Allocates.
[[nodiscard]] inline std::string to_mermaid(const StreamGraph& graph) {
  const detail::GraphNodes nodes(graph);
  const std::string name = graph.name.empty() ? fmt::format("stream {}", graph.id) : graph.name;
  std::string text = fmt::format("flowchart LR\n  subgraph stream[\"{}, {}\"]\n", detail::mermaid_escaped(name),
                                 detail::state_of(graph));
  const auto draw = [&text](const detail::GraphNode& node, std::string_view open, std::string_view close) {
    text += fmt::format("    {}{}\"{}", node.role, open, node.role);
    if (!node.what.empty()) text += fmt::format("<br/>{}", detail::mermaid_escaped(node.what));
    for (const std::string& count : node.counts) text += fmt::format("<br/>{}", count);
    text += fmt::format("\"{}\n", close);
  };
  draw(nodes.sender, "[", "]");
  draw(nodes.channel, "[(", ")]");
  draw(nodes.strategy, "[", "]");
  draw(nodes.collector, "[", "]");
  text += "    sender --> channel --> strategy --> collector\n";
  if (nodes.has_errors) {
    draw(nodes.errors, "[", "]");
    text += "    strategy -.-> errors\n";
  }
  text += "  end\n";
  return text;
}

}  // namespace weir
