#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "payload.hpp"
#include "subjects/weir_cancel.hpp"
#include "workloads.hpp"

namespace weir_bench {
namespace {

Subject cancel_subject(std::string variant, const char* topic) {
  Subject subject;
  subject.name = "weir";
  subject.variant = std::move(variant);
  subject.run = [topic](std::uint64_t times) { return Canceller(times).run(topic); };
  subject.allocations_counted = false;
  return subject;
}

}  // namespace

std::vector<Group> w9_groups() {
  Group group;
  group.id = "W9";
  group.title = "from the cancel to the token, and to the end of a handler that waits, on a pool of two threads";
  group.payload = payload_name<U64>;
  group.fixed_events = 4'000;
  group.max_rounds = 9;
  group.figures = {"p50_ns",       "p99_ns",    "p999_ns",   "post_p50_ns", "post_p99_ns",
                   "post_p999_ns", "p50_posts", "p99_posts", "p999_posts",  "post_p999_posts"};
  group.subjects = {cancel_subject("to_token", "loop"), cancel_subject("to_end", "wait")};
  return {group};
}

}  // namespace weir_bench
