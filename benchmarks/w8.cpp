#include <string>
#include <utility>

#include "process.hpp"
#include "programs.hpp"
#include "references/asio_idle.hpp"
#include "subjects/weir_idle.hpp"
#include "workloads.hpp"

namespace weir_bench {
namespace {

Subject in_a_copy(std::string name, std::string variant, Sample (*run)(std::uint64_t size)) {
  return {.name = std::move(name), .variant = std::move(variant), .run = [run](std::uint64_t size) {
            return run_in_a_copy([run, size] { return run(size); });
          }};
}

template <class T>
Group w8_group() {
  Group group;
  group.id = "W8";
  group.title = "100,000 idle channels, each with a suspended receiver, capacity 16";
  group.payload = payload_name<T>;
  group.fields = {{"capacity", std::int64_t{idle_capacity}}};
  group.fixed_events = 100'000;
  group.figures = {"bytes", "resident_bytes", "ns_per_value"};
  group.subjects = {
      in_a_copy("asio_channel", "local", &run_asio_idle_one_thread<T>),
      in_a_copy("asio_channel", "shared", &run_asio_idle_pool<T>),
      fresh_go_subject("W8", group.payload),
      fresh_tokio_subject("W8", group.payload),
      in_a_copy("weir", "local", &run_weir_idle_one_thread<T, LocalChannel, AsChildren>),
      in_a_copy("weir", "local_roots", &run_weir_idle_one_thread<T, LocalChannel, AsRoots>),
      in_a_copy("weir", "shared", &run_weir_idle_pool<T, SharedChannel, AsChildren>),
      in_a_copy("weir", "shared_roots", &run_weir_idle_pool<T, SharedChannel, AsRoots>),
  };
  return group;
}

}  // namespace

std::vector<Group> w8_groups() { return {w8_group<U64>(), w8_group<P64>()}; }

}  // namespace weir_bench
