#include <weir/bus/request.hpp>

#include <memory>
#include <optional>
#include <vector>

#include <weir/bus/priority_event_bus.hpp>
#include <weir/sim/explore.hpp>

#include "support/catch.hpp"
#include "support/explored_root.hpp"

#include "bus/scenario.hpp"

namespace {

using weir::sim::ensure;
using weir::sim::explore;
using weir::sim::explore_each_step;
using weir_test::Guard;
using weir_test::Ledger;
using Task = weir::Task<>;

struct Scene {
  weir::BusOptions options = {.workers = 1, .capacity = 2};
  bool nested = true;    ///< the handler asks for a part of its answer
  bool timed = false;    ///< with a timeout that comes in the way of the handler
  bool unheard = false;  ///< the handler leaves meanwhile
  bool silent = false;   ///< every other request is not replied to
  enum class Act { nothing, cancel, abort, destroy_bus, destroy_context } act = Act::nothing;
};

struct Item {
  Item(int v, Ledger& ledger) : n(v), guard(ledger) {}
  int n;
  Guard guard;
};

class RequestWorld {
 public:
  RequestWorld(weir::sim::Simulator& sim, const Scene& scene, Ledger& ledger)
      : sim_(sim), scene_(scene), ledger_(ledger) {
    bus_.emplace(sim, scene.options);
    whole_ = bus_->subscribe("whole", [this](weir::EventContext& event) { return answer(event); });
    part_ = bus_->subscribe("part", [this](weir::EventContext& event) {
      Item item(event.payload<Item>().n + 1, ledger_);
      event.reply(std::move(item));
    });
    for (int i = 0; i < 2; ++i) roots_.start(ask(10 * (i + 1)));
    if (scene.unheard) roots_.start(leave());
  }

  void act() {
    switch (scene_.act) {
      case Scene::Act::nothing:
        break;
      case Scene::Act::cancel:
        roots_.cancel();
        draining_ = false;
        break;
      case Scene::Act::abort:
        bus_->abort();
        break;
      case Scene::Act::destroy_bus:
        bus_.reset();
        break;
      case Scene::Act::destroy_context:
        sim_.stop();
        break;
    }
  }
  void check() {
    if (!roots_.done() || draining_ || !bus_) return;
    draining_ = true;
    roots_.start(weir_test::wait_for(bus_->drain()));
  }
  void check_end() {
    if (sim_.stopped()) return;
    roots_.check_end();
    if (scene_.act != Scene::Act::nothing) return;
    ensure(replies_ + refusals_ == 4, "a request has not ended");
    if (!scene_.timed && !scene_.unheard && !scene_.silent) ensure(replies_ == 4, "a reply is missing");
    const auto stats = bus_->stats();
    ensure(stats.queued == 0 && stats.running == 0, "the drain has left something");
  }

 private:
  weir::Task<Item> request(const char* topic, int n) {
    weir::Event event(topic, Item(n, ledger_));
    if (scene_.timed) return bus_->request<Item>(std::move(event), std::chrono::milliseconds(2));
    return bus_->request<Item>(std::move(event));
  }
  Task ask(int first) {
    for (int n = first; n < first + 2 && bus_; ++n) {
      auto asking = request("whole", n);
      try {
        const Item reply = co_await std::move(asking);
        ensure(reply.n == (scene_.nested ? 2 * (n + 1) : 2 * n), "the reply is another's");
        ++replies_;
      } catch (const weir::Error& error) {
        const auto code = static_cast<weir::Errc>(error.code().value());
        if (code == weir::Errc::cancelled) throw;
        if (code == weir::Errc::bus_closed && scene_.act != Scene::Act::nothing) co_return;
        ensure((scene_.timed && code == weir::Errc::timed_out) || (scene_.unheard && code == weir::Errc::no_handler) ||
                   (scene_.silent && code == weir::Errc::no_reply),
               "a request failed with something else");
        ++refusals_;
      }
    }
  }
  Task answer(weir::EventContext& event) {
    const Guard guard(ledger_);
    int n = event.payload<Item>().n;
    if (scene_.silent && n % 2 == 0) co_return;
    if (scene_.timed) co_await weir::sleep_for(std::chrono::milliseconds(n % 4));
    if (scene_.nested && bus_) {
      auto asking = request("part", n);
      const Item part = co_await std::move(asking);
      n = part.n;
    }
    Item item(2 * n, ledger_);
    ensure(event.reply(std::move(item)), "the reply was not taken");
    co_await weir::yield();
  }
  Task leave() {
    co_await weir::yield();
    co_await whole_.join();
  }

  weir::sim::Simulator& sim_;
  const Scene scene_;
  Ledger& ledger_;
  weir_test::Roots roots_{sim_};
  int replies_ = 0;
  int refusals_ = 0;
  bool draining_ = false;
  std::optional<weir::PriorityEventBus> bus_;
  weir::Subscription whole_;
  weir::Subscription part_;
};

auto scenario_of(const Scene& scene) { return weir_test::scenario_in<RequestWorld>(scene); }

const std::vector<Scene> every_scene = {
    {},
    {.options = {.workers = 2, .capacity = 1}, .silent = true},
    {.timed = true},
    {.nested = false, .unheard = true},
};

}  // namespace

TEST_CASE("request: each ends once, with its own reply or the reason, under every schedule tried", "[explore]") {
  for (const auto& scene : every_scene) {
    CAPTURE(&scene - every_scene.data());
    REQUIRE_NOTHROW(explore(scenario_of(scene)));
  }
}

TEST_CASE("request: a cancel, an abort or the end of the bus or its context at any step loses nothing", "[explore]") {
  for (Scene scene : every_scene) {
    CAPTURE(scene.options.workers, scene.timed, scene.unheard);
    for (const auto act :
         {Scene::Act::cancel, Scene::Act::abort, Scene::Act::destroy_bus, Scene::Act::destroy_context}) {
      scene.act = act;
      CAPTURE(static_cast<int>(act));
      REQUIRE_NOTHROW(explore_each_step(scenario_of(scene)));
    }
  }
}
