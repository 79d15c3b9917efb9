#include <weir/core/cancel_scope.hpp>

#include "support/catch.hpp"

#include <string>
#include <vector>

namespace {

using Log = std::vector<std::string>;

class Member : public weir::Cancellable {
 public:
  Member(Log& log, std::string name, Member* unlinks = nullptr)
      : Cancellable(kind()), log_(log), name_(std::move(name)), unlinks_(unlinks) {}

  static const Kind& kind() {
    static constexpr Kind kind{&Member::cancel, &Member::destroy, "member"};
    return kind;
  }

 private:
  static void cancel(Cancellable& self) noexcept {
    auto& member = static_cast<Member&>(self);
    member.log_.push_back("cancel " + member.name_ + (self.linked() ? " linked" : ""));
    if (member.unlinks_) member.unlinks_->unlink();
  }
  static void destroy(Cancellable& self) noexcept {
    auto& member = static_cast<Member&>(self);
    member.log_.push_back("destroy " + member.name_);
  }

  Log& log_;
  std::string name_;
  Member* unlinks_;
};

}  // namespace

TEST_CASE("cancel_scope: cancels in the order of linking, once, with members already unlinked") {
  Log log;
  weir::CancelScope scope;
  Member a(log, "a");
  Member b(log, "b");
  scope.link(a);
  scope.link(b);
  scope.cancel();
  scope.cancel(weir::Errc::timed_out);
  CHECK(log == Log{"cancel a", "cancel b"});
  CHECK(scope.cancelled());
  CHECK(scope.reason() == weir::Errc::cancelled);
}

TEST_CASE("cancel_scope: a member that left hears nothing, also when it leaves during the cancel") {
  Log log;
  weir::CancelScope scope;
  Member gone(log, "gone");
  Member b(log, "b");
  Member a(log, "a", &b);
  scope.link(gone);
  scope.link(a);
  scope.link(b);
  gone.unlink();
  {
    Member destroyed(log, "destroyed");
    scope.link(destroyed);
  }
  scope.cancel();
  CHECK(log == Log{"cancel a"});
}

TEST_CASE("cancel_scope: scopes below are cancelled with the reason, and a scope below a cancelled one at once") {
  Log log;
  weir::CancelScope parent;
  weir::CancelScope child(parent);
  weir::CancelScope sibling(parent);
  Member a(log, "a");
  Member b(log, "b");
  child.link(a);
  sibling.link(b);
  child.cancel();
  CHECK(log == Log{"cancel a"});
  CHECK_FALSE(parent.cancelled());
  CHECK_FALSE(sibling.cancelled());
  parent.cancel(weir::Errc::timed_out);
  CHECK(log == Log{"cancel a", "cancel b"});
  CHECK(child.reason() == weir::Errc::cancelled);
  CHECK(sibling.reason() == weir::Errc::timed_out);
  weir::CancelScope late(parent);
  CHECK(late.cancelled());
  CHECK(late.reason() == weir::Errc::timed_out);
}

TEST_CASE("cancel_scope: destroying it destroys what it owns and cancels nothing") {
  Log log;
  Member a(log, "a");
  {
    weir::CancelScope scope;
    scope.link(a);
  }
  CHECK(log == Log{"destroy a"});
  CHECK_FALSE(a.linked());
}

TEST_CASE("cancel_scope: a scope destroyed before its parent leaves it") {
  weir::CancelScope parent;
  {
    weir::CancelScope child(parent);
    CHECK(child.linked());
  }
  parent.cancel();
  CHECK(parent.cancelled());
}

TEST_CASE("cancel_scope: finds a member by its kind, and tells what waits at any depth") {
  Log log;
  weir::CancelScope parent;
  weir::CancelScope child(parent);
  Member a(log, "a");
  CHECK(parent.find(Member::kind()) == nullptr);
  child.link(a);
  CHECK(parent.find(Member::kind()) == nullptr);
  CHECK(child.find(Member::kind()) == &a);
  Log waits;
  parent.for_each_wait([&waits](const char* what) { waits.emplace_back(what); });
  CHECK(waits == Log{"member"});
}

namespace {

/// A wait that says more than its name.
class Place : public weir::Cancellable {
 public:
  explicit Place(int number) : Cancellable(kind), number_(number) {}

 private:
  static void tell(const Cancellable& self, std::string& text) {
    text += "number " + std::to_string(static_cast<const Place&>(self).number_);
  }
  static constexpr Kind kind{nullptr, nullptr, "place", &tell};

  int number_;
};

}  // namespace

TEST_CASE("cancel_scope: a visitor of waits gets each wait, which describes itself by its kind") {
  Log log;
  weir::CancelScope parent;
  weir::CancelScope child(parent);
  Member a(log, "a");
  Place b(3);
  Place c(4);
  parent.link(a);
  parent.link(c);
  child.link(b);
  Log waits;
  parent.for_each_wait([&waits](const weir::Cancellable& wait) {
    std::string text = "<";
    wait.describe(text);
    waits.push_back(text);
  });
  CHECK(waits == Log{"<place — number 3", "<member", "<place — number 4"});
}
