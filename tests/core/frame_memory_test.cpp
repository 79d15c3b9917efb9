#include <weir/core/frame_memory.hpp>

#include <array>
#include <atomic>
#include <latch>
#include <memory>
#include <memory_resource>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <weir/core/generator.hpp>
#include <weir/core/spawn.hpp>
#include <weir/core/sync_wait.hpp>
#include <weir/core/task.hpp>
#include <weir/core/timer.hpp>
#include <weir/sim/simulator.hpp>

#include "support/allocation_counter.hpp"
#include "support/catch.hpp"
#include "support/counted.hpp"

namespace {

using weir::Generator;
using weir::Task;
using weir::detail::FramePool;
using weir_test::AllocationCounter;
using weir_test::Count;
using weir_test::Counted;

constexpr bool recycled = weir::detail::frames_are_recycled;

/// What an allocator has given out.
struct Account {
  std::atomic<std::size_t> bytes{0};
  std::atomic<std::size_t> calls{0};
  std::atomic<std::size_t> given{0};  ///< bytes, all together
  bool broke = false;
  /// Held by each copy of the allocator.
  std::shared_ptr<int> token = std::make_shared<int>();

  /// Nothing is out, neither memory nor an allocator, but for the test's own.
  [[nodiscard]] bool even(long allocators = 1) const { return bytes == 0 && token.use_count() == 1 + allocators; }
};

/// Remembers its account, so it has to be kept in the frame.
template <class T>
struct Counting {
  using value_type = T;

  explicit Counting(Account& a) noexcept : account(&a), token(a.token) {}
  /// No move: one that was moved from is as good as before.
  Counting(const Counting& other) = default;
  template <class U>
  Counting(const Counting<U>& other) noexcept : account(other.account), token(other.token) {}

  T* allocate(std::size_t n) {
    if (account->broke) throw std::bad_alloc();
    account->bytes += n * sizeof(T);
    account->given += n * sizeof(T);
    ++account->calls;
    return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t(alignof(T))));
  }
  void deallocate(T* memory, std::size_t n) noexcept {
    account->bytes -= n * sizeof(T);
    ::operator delete(memory, std::align_val_t(alignof(T)));
  }
  template <class U>
  friend bool operator==(const Counting& a, const Counting<U>& b) noexcept {
    return a.account == b.account;
  }

  Account* account;
  std::shared_ptr<int> token;
};

Account stateless_account;

/// Any of it will do, so it need not be kept.
template <class T>
struct Stateless {
  using value_type = T;

  Stateless() = default;
  template <class U>
  Stateless(const Stateless<U>&) noexcept {}

  T* allocate(std::size_t n) {
    account().bytes += n * sizeof(T);
    account().given += n * sizeof(T);
    ++account().calls;
    return std::allocator<T>().allocate(n);
  }
  void deallocate(T* memory, std::size_t n) noexcept {
    account().bytes -= n * sizeof(T);
    std::allocator<T>().deallocate(memory, n);
  }
  /// One for all value types.
  static Account& account() noexcept { return stateless_account; }
  template <class U>
  friend bool operator==(const Stateless&, const Stateless<U>&) noexcept {
    return true;
  }
};
static_assert(std::allocator_traits<Stateless<int>>::is_always_equal::value);

struct alignas(64) Wide {
  std::array<std::byte, 64> bytes;
};

// Not inlined: Clang then knows the end of the frame, and takes it from the caller's.
[[gnu::noinline]] Task<int> leaf(int value) { co_return value; }

[[gnu::noinline]] Task<> awaits(int times, int& sum) {
  for (int i = 0; i < times; ++i) sum += co_await leaf(i);
}

template <class A>
[[gnu::noinline]] Task<int> allocated(std::allocator_arg_t, A, int value) {
  co_return value;
}

template <class A>
[[gnu::noinline]] Task<int> nested(std::allocator_arg_t tag, const A& allocator, int depth) {
  if (depth == 0) co_return 0;
  const int below = co_await nested(tag, allocator, depth - 1);
  co_return below + 1;
}

template <class A>
[[gnu::noinline]] Generator<int> counts_to(std::allocator_arg_t, A, int n) {
  for (int i = 1; i <= n; ++i) co_yield i;
}

struct Object {
  int offset;
  template <class A>
  [[gnu::noinline]] Task<int> member(std::allocator_arg_t, A, int value) const {
    co_return offset + value;
  }
  template <class A>
  [[gnu::noinline]] Generator<int> yields(std::allocator_arg_t, const A&) {
    co_yield offset;
    co_yield ++offset;
  }
};

TEST_CASE("frame_memory: a thread gives a block out again to the next of its size class, the last first") {
  if (!recycled) {
    SUCCEED("frames come from the heap in this build");
    return;
  }
  std::array<void*, 3> blocks{};
  for (auto& block : blocks) block = FramePool::allocate(100);
  for (auto* block : blocks) FramePool::deallocate(block, 100);
  CHECK(FramePool::allocate(100) == blocks[2]);
  // Another size of the same class, and one of another.
  void* const larger = FramePool::allocate(121);
  CHECK(larger != blocks[1]);
  CHECK(FramePool::allocate(89) == blocks[1]);
  CHECK(FramePool::allocate(120) == blocks[0]);
  FramePool::deallocate(larger, 121);
  for (auto* block : blocks) FramePool::deallocate(block, 100);
}

TEST_CASE("frame_memory: a thread keeps no more than its share of each class, and nothing large") {
  if (!recycled) {
    SUCCEED("frames come from the heap in this build");
    return;
  }
  for (const std::size_t size : {std::size_t{1}, std::size_t{64}, std::size_t{200}, FramePool::largest}) {
    constexpr std::size_t count = 1000;
    std::vector<void*> blocks(count);
    weir::release_frame_memory();
    for (int round = 0; round < 2; ++round) {
      const AllocationCounter counter;
      for (auto& block : blocks) block = FramePool::allocate(size);
      const std::uint64_t allocations = counter.count();
      for (auto* block : blocks) FramePool::deallocate(block, size);
      const std::size_t kept = round == 0 ? 0 : FramePool::kept_bytes / FramePool::rounded(size);
      if (weir_test::counts()) CHECK(allocations == count - kept);
    }
  }
  const AllocationCounter counter;
  for (int i = 0; i < 10; ++i)
    FramePool::deallocate(FramePool::allocate(FramePool::largest + 1), FramePool::largest + 1);
  const std::uint64_t large = counter.count();
  if (weir_test::counts()) CHECK(large == 10);
  FramePool::clear();
  const AllocationCounter cleared;
  FramePool::deallocate(FramePool::allocate(64), 64);
  const std::uint64_t fresh = cleared.count();
  if (weir_test::counts()) CHECK(fresh == 1);
}

TEST_CASE("frame_memory: a block that is freed on another thread stays there") {
  if (!recycled) {
    SUCCEED("frames come from the heap in this build");
    return;
  }
  void* const block = FramePool::allocate(300);
  bool again = false;
  std::thread([&] {
    FramePool::deallocate(block, 300);
    void* const next = FramePool::allocate(300);
    again = next == block;
    FramePool::deallocate(next, 300);
  }).join();
  CHECK(again);
  void* const here = FramePool::allocate(300);
  CHECK(here != block);
  FramePool::deallocate(here, 300);
}

TEST_CASE("frame_memory: more threads than there are lists for share no block, and free each other's") {
  constexpr std::size_t count = 150;
  constexpr std::size_t size = 100;
  using Blocks = std::vector<std::size_t*>;
  std::vector<std::atomic<Blocks*>> tables(count);
  std::latch made(count);
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < count; ++i) {
    threads.emplace_back([&, i] {
      made.arrive_and_wait();
      for (int round = 0; round < 200; ++round) {
        auto blocks = std::make_unique<Blocks>();
        for (int n = 0; n < 20; ++n) {
          blocks->push_back(::new (FramePool::allocate(size)) std::size_t(i));
          if (n == 10) std::this_thread::yield();
        }
        for (const auto* block : *blocks) wrong += *block != i ? 1 : 0;
        // What a neighbour left is freed here.
        const std::unique_ptr<Blocks> other(tables[(i + 1) % count].exchange(blocks.release()));
        if (!other) continue;
        for (auto* block : *other) FramePool::deallocate(block, size);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  for (auto& table : tables) {
    const std::unique_ptr<Blocks> left(table.load());
    for (auto* block : *left) FramePool::deallocate(block, size);
  }
  CHECK(wrong == 0);
  // The lists are those of threads that have ended.
  FramePool::clear();
}

TEST_CASE("frame_memory: a child awaited in a loop allocates nothing, wherever it runs") {
  const bool judge = recycled && weir_test::counts();
  int sum = 0;
  std::uint64_t allocations = 1;
  const auto measured = [&]() -> Task<> {
    co_await awaits(2, sum);
    const AllocationCounter counter;
    co_await awaits(1000, sum);
    allocations = counter.count();
  };
  asio::io_context context;
  weir::spawn(context, measured());
  context.run();
  if (judge) CHECK(allocations == 0);
  asio::thread_pool pool(1);
  allocations = 1;
  weir::sync_wait(pool, measured());
  if (judge) CHECK(allocations == 0);
  weir::sim::Simulator sim(1);
  allocations = 1;
  sim.spawn(measured());
  sim.run();
  if (judge) CHECK(allocations == 0);
  CHECK(sum == 3 * (1000 * 999 / 2 + 1));
}

TEST_CASE("frame_memory: a generator made in a loop allocates nothing") {
  const auto numbers = [](int n) -> Generator<int> {
    for (int i = 0; i < n; ++i) co_yield i;
  };
  int sum = 0;
  const auto run = [&](int times) {
    for (int i = 0; i < times; ++i) {
      for (const int number : numbers(3)) sum += number;
    }
  };
  run(1);
  const AllocationCounter counter;
  run(100);
  const std::uint64_t allocations = counter.count();
  if (recycled && weir_test::counts()) CHECK(allocations == 0);
  CHECK(sum == 303);
}

TEST_CASE("frame_memory: an allocator serves functions, members, lambdas and what they await, and gets all back") {
  Account account;
  const Counting<char> allocator(account);
  asio::io_context context;
  int result = 0;
  const auto lambda = [factor = 2](std::allocator_arg_t, Counting<char> a, int value) -> Task<int> {
    // Three frames more.
    const int depth = co_await nested(std::allocator_arg, a, 2);
    co_return factor* value + depth;
  };
  const auto outer = [&]() -> Task<> {
    result += co_await allocated(std::allocator_arg, allocator, 1);
    Object object{100};
    result += co_await object.member(std::allocator_arg, allocator, 10);
    result += co_await lambda(std::allocator_arg, allocator, 500);
  };
  weir::spawn(context, outer());
  context.run();
  CHECK(result == 1 + 110 + 1002);
  CHECK(account.calls == 6);
  CHECK(account.given > 6 * sizeof(weir::detail::TaskPromise<int>));
  CHECK(account.even());
}

TEST_CASE("frame_memory: a generator's allocator gets all back, at its end and midway") {
  Account account;
  const Counting<long> allocator(account);
  int sum = 0;
  for (const int number : counts_to(std::allocator_arg, allocator, 4)) sum += number;
  CHECK(account.bytes == 0);
  for (const int number : counts_to(std::allocator_arg, allocator, 4)) {
    CHECK(account.bytes > 0);
    if (number == 2) break;
  }
  Object object{7};
  for (const int number : object.yields(std::allocator_arg, allocator)) sum += number;
  CHECK(sum == 10 + 15);
  CHECK(account.calls == 3);
  CHECK(account.even());
}

TEST_CASE("frame_memory: an allocator of any value type will do") {
  Account account;
  const std::size_t before = stateless_account.calls;
  asio::io_context context;
  int sum = 0;
  std::array<std::byte, 4096> buffer{};
  std::pmr::monotonic_buffer_resource resource(buffer.data(), buffer.size(), std::pmr::null_memory_resource());
  weir::spawn(context, [&]() -> Task<> {
    const Counting<Wide> wide(account);
    const Counting<void> proto(account);
    const std::pmr::polymorphic_allocator<> pmr(&resource);
    sum += co_await allocated(std::allocator_arg, wide, 1);
    sum += co_await allocated(std::allocator_arg, proto, 2);
    sum += co_await allocated(std::allocator_arg, pmr, 3);
    sum += co_await allocated(std::allocator_arg, std::allocator<int>(), 4);
    sum += co_await allocated(std::allocator_arg, Stateless<Wide>(), 5);
  });
  context.run();
  CHECK(sum == 15);
  CHECK(stateless_account.calls == before + 1);
  CHECK(stateless_account.bytes == 0);
  CHECK(account.calls == 2);
  CHECK(account.even(0));
}

TEST_CASE("frame_memory: an allocator without a state takes no place in the frame, and the pool's frames none at all") {
  using Plain = weir::detail::AllocatedFrame<Stateless<char>>;
  using Kept = weir::detail::AllocatedFrame<Counting<char>>;
  const Stateless<char> stateless;
  Account account;
  const Counting<char> counting(account);
  for (std::size_t size = 100; size < 140; ++size) {
    const std::size_t whole = (size + 15) / 16 * 16;
    void* const plain = Plain::allocate(size, stateless);
    void* const kept = Kept::allocate(size, counting);
    CHECK(stateless_account.bytes == whole);
    CHECK(account.bytes == ((size + 7) / 8 * 8 + sizeof(counting) + 15) / 16 * 16);
    Plain::deallocate(plain, size);
    Kept::deallocate(kept, size);
    CHECK(stateless_account.bytes == 0);
    CHECK(account.even());
  }
  STATIC_REQUIRE(sizeof(weir::detail::AwaitTransform) == sizeof(weir::Promise));
}

TEST_CASE("frame_memory: the frame of an allocator may be destroyed on another thread") {
  Account account;
  auto task = allocated(std::allocator_arg, Counting<int>(account), 1);
  CHECK(account.bytes > 0);
  std::thread([moved = std::move(task)]() mutable { const Task<int> last(std::move(moved)); }).join();
  CHECK(account.bytes == 0);
}

[[gnu::noinline]] Task<> waits(std::allocator_arg_t tag, Counting<int> allocator, int depth, Counted, Count& count) {
  if (depth == 0) {
    co_await weir::sleep_for(std::chrono::hours(1));
  } else {
    Counted counted(count);
    co_await waits(tag, allocator, depth - 1, std::move(counted), count);
  }
}

TEST_CASE("frame_memory: frames that wait when their context is destroyed are given back") {
  Account account;
  Count count;
  {
    weir::sim::Simulator sim(1);
    const Counting<int> allocator(account);
    sim.spawn(waits(std::allocator_arg, allocator, 3, Counted(count), count));
    while (sim.ready() != 0) sim.step();
    CHECK(account.calls == 4);
    CHECK(account.bytes > 0);
    CHECK(count.alive() == 4);
  }
  CHECK(account.bytes == 0);
  CHECK(count.alive() == 0);
}

TEST_CASE("frame_memory: a call that gets no memory throws, and its arguments are destroyed once") {
  Account account;
  Count count;
  account.broke = true;
  const Counting<int> allocator(account);
  CHECK_THROWS_AS(waits(std::allocator_arg, allocator, 0, Counted(count), count), std::bad_alloc);
  CHECK(count.made == 1);
  CHECK(count.alive() == 0);
  CHECK_THROWS_AS(counts_to(std::allocator_arg, allocator, 1), std::bad_alloc);
  CHECK(account.calls == 0);
}

TEST_CASE("frame_memory: a child that gets no memory throws in the task that calls it") {
  Account account;
  account.broke = true;
  asio::io_context context;
  bool caught = false;
  weir::spawn(context, [&]() -> Task<> {
    const Counting<int> allocator(account);
    try {
      static_cast<void>(co_await nested(std::allocator_arg, allocator, 3));
    } catch (const std::bad_alloc&) {
      caught = true;
    }
  });
  context.run();
  CHECK(caught);
  CHECK(account.bytes == 0);
}

TEST_CASE("frame_memory: what a task of an allocator returns and throws arrives as from any other") {
  Account account;
  const Counting<int> allocator(account);
  int target = 0;
  const auto reference = [&target](std::allocator_arg_t, Counting<int>) -> Task<int&> { co_return target; };
  const auto nothing = [](std::allocator_arg_t, Counting<int>) -> Task<> { co_return; };
  const auto throws = [](std::allocator_arg_t, Counting<int>) -> Task<int> {
    throw std::runtime_error("no");
    co_return 1;
  };
  asio::io_context context;
  std::string said;
  weir::spawn(context, [&]() -> Task<> {
    int& result = co_await reference(std::allocator_arg, allocator);
    result = 5;
    co_await nothing(std::allocator_arg, allocator);
    try {
      static_cast<void>(co_await throws(std::allocator_arg, allocator));
    } catch (const std::runtime_error& error) {
      said = error.what();
    }
  });
  context.run();
  CHECK(target == 5);
  CHECK(said == "no");
  CHECK(account.calls == 3);
  CHECK(account.even());
}

}  // namespace
