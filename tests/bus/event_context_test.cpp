#include <weir/bus/event_context.hpp>

#include <string>

#include "support/catch.hpp"

namespace {

struct Running : weir::detail::RunningEvent {
  void tell_requester() noexcept override { ++told; }
  int told = 0;
  weir::CancellationToken token() override { return source.token(); }
  weir::Task<weir::EventId> publish(weir::Event&&) override { return {}; }
  weir::PublishResult try_publish(weir::Event&& event_to_be) override {
    published = std::move(event_to_be).type();
    return {7, {}};
  }
  std::string published;
  weir::CancellationSource source;
};

}  // namespace

TEST_CASE("event_context: shows the event, its token and its end") {
  const weir::Event event("a.b", std::string("x"), weir::EventPriority::low);
  Running running;
  running.event = &event;
  weir::EventContext context(running);
  CHECK(context.topic() == "a.b");
  CHECK(context.payload<std::string>() == "x");
  CHECK(context.priority() == weir::EventPriority::low);
  CHECK_THROWS_AS(context.payload<int>(), weir::Error);
  CHECK_FALSE(context.cancelled());
  running.cut = true;
  CHECK(context.cancelled());
  CHECK_FALSE(context.token().cancelled());
  running.source.cancel();
  CHECK(context.token().cancelled());
  CHECK(context.try_publish("a.c", 1).id == 7);
  CHECK(running.published == "a.c");
  context.stop_propagation();
  CHECK(running.stopped);
}

TEST_CASE("event_context: a reply goes to a request, and only the first") {
  Running running;
  weir::Event event("t", 1);
  running.event = &event;
  weir::EventContext context(running);
  CHECK_FALSE(context.is_request());
  CHECK_FALSE(context.reply(1));
  struct Slot : weir::detail::ReplySlot {
    void accept(const std::type_info& type, void* value) override {
      if (type == typeid(int)) got = *static_cast<int*>(value);
    }
    int got = 0;
  };
  const auto slot = std::make_shared<Slot>();
  event.reply_to(slot);
  CHECK(context.is_request());
  CHECK(context.reply(2));
  CHECK_FALSE(context.reply(3));
  CHECK(slot->got == 2);
  CHECK(running.told == 1);
}
