#include "channel/linearizability.hpp"

#include <utility>

#include "support/catch.hpp"

// The checker itself: what a channel can do it must accept, and what no channel can do it must refuse.

namespace {

using namespace channel_test;

/// A history of up to three threads. `at` sets when the next operation is called and returns; without it each comes
/// after the one before.
class Told {
 public:
  explicit Told(std::size_t capacity) {
    history_.capacity = capacity;
    history_.threads.resize(3);
  }

  Told& handles(std::uint8_t senders, std::uint8_t receivers) {
    history_.senders = senders;
    history_.receivers = receivers;
    return *this;
  }
  Told& at(std::uint64_t called, std::uint64_t returned) {
    called_ = called;
    returned_ = returned;
    return *this;
  }
  Told& by(std::size_t thread, Op op, Answer answer, int value = 0) {
    if (called_ == 0) {
      called_ = ++now_;
      returned_ = ++now_;
    }
    auto& mine = history_.threads[thread];
    mine.push_back({op, answer, value, called_, returned_, static_cast<int>(mine.size())});
    now_ = std::max(now_, returned_);
    called_ = 0;
    return *this;
  }
  Told& waits(std::size_t thread, std::size_t place) {
    history_.waiting.emplace_back(thread, place);
    return *this;
  }
  [[nodiscard]] bool possible() const { return check_linearizable(history_).linearizable; }
  [[nodiscard]] const History& history() const { return history_; }

 private:
  History history_;
  std::uint64_t now_ = 0;
  std::uint64_t called_ = 0;
  std::uint64_t returned_ = 0;
};

TEST_CASE("linearizability: what is sent is received in order, and then the end", "[linearizability]") {
  CHECK(Told(2)
            .by(0, Op::send, Answer::done, 1)
            .by(0, Op::send, Answer::done, 2)
            .by(0, Op::try_send, Answer::full, 3)
            .by(0, Op::close, Answer::done)
            .by(1, Op::receive, Answer::value, 1)
            .by(1, Op::receive, Answer::value, 2)
            .by(1, Op::receive, Answer::closed)
            .possible());
}

TEST_CASE("linearizability: operations that overlap may come in either order", "[linearizability]") {
  for (const int first : {1, 2}) {
    CAPTURE(first);
    CHECK(Told(2)
              .at(1, 10)
              .by(0, Op::send, Answer::done, 1)
              .at(2, 9)
              .by(1, Op::send, Answer::done, 2)
              .by(2, Op::receive, Answer::value, first)
              .by(2, Op::receive, Answer::value, 3 - first)
              .possible());
  }
}

TEST_CASE("linearizability: a wait takes effect when it can, not when it was called", "[linearizability]") {
  CHECK(Told(1)
            .at(1, 20)
            .by(0, Op::receive, Answer::value, 7)
            .at(2, 3)
            .by(1, Op::try_receive, Answer::nothing)
            .at(4, 5)
            .by(1, Op::send, Answer::done, 7)
            .possible());
  // A full channel, and a sender that waits while a receiver makes room.
  CHECK(Told(1)
            .at(1, 2)
            .by(0, Op::send, Answer::done, 1)
            .at(3, 20)
            .by(0, Op::send, Answer::done, 2)
            .at(4, 5)
            .by(1, Op::try_send, Answer::full, 3)
            .at(6, 7)
            .by(2, Op::receive, Answer::value, 1)
            .at(8, 9)
            .by(2, Op::receive, Answer::value, 2)
            .possible());
}

TEST_CASE("linearizability: a lost value is refused", "[linearizability]") {
  CHECK_FALSE(Told(2).by(0, Op::send, Answer::done, 1).by(1, Op::try_receive, Answer::nothing).possible());
  CHECK_FALSE(Told(2)
                  .by(0, Op::send, Answer::done, 1)
                  .by(0, Op::send, Answer::done, 2)
                  .by(1, Op::receive, Answer::value, 2)
                  .possible());
}

TEST_CASE("linearizability: a value that is received twice, or was never sent, is refused", "[linearizability]") {
  CHECK_FALSE(Told(2)
                  .by(0, Op::send, Answer::done, 1)
                  .by(1, Op::receive, Answer::value, 1)
                  .by(2, Op::receive, Answer::value, 1)
                  .possible());
  CHECK_FALSE(
      Told(2).at(1, 9).by(0, Op::send, Answer::done, 1).at(1, 9).by(1, Op::receive, Answer::value, 2).possible());
}

TEST_CASE("linearizability: a value that was received before it was sent is refused", "[linearizability]") {
  CHECK_FALSE(
      Told(2).at(1, 2).by(1, Op::receive, Answer::value, 1).at(3, 4).by(0, Op::send, Answer::done, 1).possible());
}

TEST_CASE("linearizability: values out of their order are refused", "[linearizability]") {
  CHECK_FALSE(Told(2)
                  .by(0, Op::send, Answer::done, 1)
                  .by(0, Op::send, Answer::done, 2)
                  .by(1, Op::receive, Answer::value, 2)
                  .by(1, Op::receive, Answer::value, 1)
                  .possible());
  // Of two threads, one after the other.
  CHECK_FALSE(Told(2)
                  .by(0, Op::send, Answer::done, 1)
                  .by(1, Op::send, Answer::done, 2)
                  .by(2, Op::receive, Answer::value, 2)
                  .by(2, Op::receive, Answer::value, 1)
                  .possible());
}

TEST_CASE("linearizability: an end that is seen before the values are drained is refused", "[linearizability]") {
  CHECK_FALSE(Told(2)
                  .by(0, Op::send, Answer::done, 1)
                  .by(0, Op::close, Answer::done)
                  .by(1, Op::receive, Answer::closed)
                  .possible());
  CHECK_FALSE(Told(2).by(1, Op::receive, Answer::closed).possible());
  // With a permit out the end has not come either.
  CHECK_FALSE(Told(2)
                  .by(0, Op::reserve, Answer::done)
                  .by(0, Op::close, Answer::done)
                  .by(1, Op::receive, Answer::closed)
                  .possible());
}

TEST_CASE("linearizability: a send that succeeds after the end was seen is refused", "[linearizability]") {
  CHECK_FALSE(Told(2)
                  .by(0, Op::close, Answer::done)
                  .by(1, Op::receive, Answer::closed)
                  .by(0, Op::send, Answer::done, 1)
                  .possible());
  // One that had begun before the close may still have been first.
  CHECK(Told(2)
            .at(1, 9)
            .by(0, Op::send, Answer::done, 1)
            .at(2, 3)
            .by(1, Op::close, Answer::done)
            .at(10, 11)
            .by(1, Op::receive, Answer::value, 1)
            .possible());
}

TEST_CASE("linearizability: more than the capacity is refused, and full before it is as well", "[linearizability]") {
  CHECK_FALSE(Told(1).by(0, Op::send, Answer::done, 1).by(0, Op::try_send, Answer::done, 2).possible());
  CHECK_FALSE(Told(2).by(0, Op::send, Answer::done, 1).by(0, Op::try_send, Answer::full, 2).possible());
  CHECK_FALSE(Told(2)
                  .by(0, Op::reserve, Answer::done)
                  .by(0, Op::send, Answer::done, 1)
                  .by(0, Op::try_send, Answer::done, 2)
                  .possible());
}

TEST_CASE("linearizability: a value that is seen by one and not yet by another is refused", "[linearizability]") {
  // The send has taken the last place, says the second; nothing has been sent, says the third.
  CHECK_FALSE(Told(1)
                  .at(1, 20)
                  .by(0, Op::send, Answer::done, 1)
                  .at(2, 3)
                  .by(1, Op::try_send, Answer::full, 2)
                  .at(4, 5)
                  .by(2, Op::try_receive, Answer::nothing)
                  .possible());
}

TEST_CASE("linearizability: the last handle of a side ends it, and not the last but one", "[linearizability]") {
  CHECK(Told(1).by(0, Op::drop_sender, Answer::done).by(1, Op::receive, Answer::closed).possible());
  CHECK(Told(1).by(1, Op::drop_receiver, Answer::done).by(0, Op::send, Answer::closed, 1).possible());
  CHECK_FALSE(Told(1)
                  .by(0, Op::copy_sender, Answer::done)
                  .by(0, Op::drop_sender, Answer::done)
                  .by(1, Op::receive, Answer::closed)
                  .possible());
  CHECK_FALSE(
      Told(1).handles(1, 2).by(1, Op::drop_receiver, Answer::done).by(0, Op::send, Answer::closed, 1).possible());
}

TEST_CASE("linearizability: what was cancelled had no effect, and was asked to end", "[linearizability]") {
  CHECK(Told(1)
            .at(1, 9)
            .by(0, Op::send, Answer::cancelled, 1)
            .at(2, 3)
            .by(1, Op::cancel, Answer::done, 0)
            .at(10, 11)
            .by(1, Op::try_receive, Answer::nothing)
            .possible());
  CHECK_FALSE(Told(1)
                  .at(1, 9)
                  .by(0, Op::send, Answer::cancelled, 1)
                  .at(2, 3)
                  .by(1, Op::cancel, Answer::done, 0)
                  .at(10, 11)
                  .by(1, Op::try_receive, Answer::value, 1)
                  .possible());
  CHECK_FALSE(Told(1).by(0, Op::send, Answer::cancelled, 1).possible());
  // The cancel was meant for another step, or came too late.
  CHECK_FALSE(Told(1).by(1, Op::cancel, Answer::done, 1).by(0, Op::send, Answer::cancelled, 1).possible());
  CHECK_FALSE(Told(1).by(0, Op::send, Answer::cancelled, 1).by(1, Op::cancel, Answer::done, whole_thread).possible());
}

TEST_CASE("linearizability: a wait that could have gone on when all was still is refused", "[linearizability]") {
  const auto told = [](int received) {
    Told history(1);
    history.by(0, Op::send, Answer::done, 1);
    history.at(10, 40).by(0, Op::send, Answer::cancelled, 2);
    if (received != 0) history.at(12, 13).by(1, Op::receive, Answer::value, received);
    history.waits(0, 1).at(20, 21).by(2, Op::still, Answer::done);
    history.at(22, 23).by(2, Op::cancel, Answer::done, whole_thread);
    return history.possible();
  };
  CHECK(told(0));
  CHECK_FALSE(told(1));
  // A receiver that waits beside a value.
  CHECK_FALSE(Told(1)
                  .at(1, 30)
                  .by(1, Op::receive, Answer::value, 1)
                  .at(2, 3)
                  .by(0, Op::send, Answer::done, 1)
                  .waits(1, 0)
                  .at(20, 21)
                  .by(2, Op::still, Answer::done)
                  .possible());
}

TEST_CASE("linearizability: a long history without order in time is decided", "[linearizability]") {
  // Three threads of twelve operations each that all overlap: far too many orders to try each.
  Told told(3);
  for (int i = 0; i < 12; ++i) {
    told.at(1, 1000).by(0, Op::send, Answer::done, i);
    told.at(1, 1000).by(1, Op::send, Answer::done, 40 + i);
    told.at(1, 1000).by(2, Op::receive, Answer::value, i % 2 == 0 ? i / 2 : 40 + i / 2);
  }
  CHECK_FALSE(told.possible());
  for (int i = 12; i < 24; ++i) told.at(1, 1000).by(2, Op::receive, Answer::value, i % 2 == 0 ? i / 2 : 40 + i / 2);
  const Verdict verdict = check_linearizable(told.history());
  CHECK(verdict.linearizable);
  CHECK_FALSE(verdict.undecided);
  CHECK(verdict.tried < 100000);
}

}  // namespace
