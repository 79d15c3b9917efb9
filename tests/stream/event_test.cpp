#include <weir/stream/event.hpp>

#include "support/catch.hpp"

#include <memory>
#include <string>

using namespace std::chrono_literals;

TEST_CASE("event: what is built keeps its time, what is plain gets one") {
  const weir::EventTime real(5s);
  auto built = weir::SenderEvent<std::string>::with("x").created(real).build();
  built.stamp(3, weir::EventTime(9s));
  CHECK(built.created() == real);
  CHECK(built.id() == 3);
  weir::SenderEvent<std::string> plain(std::in_place, "y");
  plain.stamp(4, weir::EventTime(9s));
  CHECK(plain.created() == weir::EventTime(9s));
}

TEST_CASE("event: the receiver's event has the sender's data, number and time, also of a move-only type") {
  weir::SenderEvent<std::unique_ptr<int>> sent(std::in_place, std::make_unique<int>(7));
  sent.stamp(12, weir::EventTime(1s));
  weir::ReceiverEvent<std::unique_ptr<int>> event(std::move(sent), 99, 2);
  CHECK(*event.data() == 7);
  CHECK(event.id() == 12);
  CHECK(event.task_id() == 99);
  CHECK(event.worker() == 2);
  CHECK(event.type() == weir::EventType::data);
  CHECK(event.created() == weir::EventTime(1s));
  const std::unique_ptr<int> moved = std::move(event).data();
  CHECK(*moved == 7);
}
