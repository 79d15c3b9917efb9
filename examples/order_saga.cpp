/// Orders of a shop, each a saga of three steps: the goods are put aside, the money is taken, a parcel is booked. When
/// a step fails, what the steps before it did is undone.
///
///     order_saga [--stock N] [--balance AMOUNT] [--unreachable PLACE]... [--refunds-fail] FILE
///
/// FILE ("-": standard input) has one order a line: how many pieces, the price of one, and the place where they go. The
/// steps take place in memory, and keep the books that are printed at the end: they say whether anything was lost.
#include <chrono>
#include <cstdio>
#include <exception>
#include <fstream>
#include <iostream>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include <fmt/format.h>
#include <weir/bus/event_bus.hpp>
#include <weir/core/sync_wait.hpp>
#include <weir/core/timer.hpp>

#include "support/options.hpp"
#include "support/output.hpp"

namespace {

constexpr std::string_view program = "order_saga";

struct Order {
  int number = 0;
  int pieces = 0;
  int price = 0;
  std::string place;
};

struct ShopOptions {
  std::string path;
  int stock = 10;
  int balance = 100;
  std::vector<std::string> unreachable;
  bool refunds_fail = false;
};

constexpr weir::Topic<Order> put_aside{"stock.reserve"};
constexpr weir::Topic<Order> take_money{"payment.take"};
constexpr weir::Topic<Order> book_parcel{"shipping.book"};
constexpr weir::Topic<std::string> send_mail{"mail.send"};

/// What the steps do, and how it is undone. Their events have the order's number as a key, and so run one after
/// another; the orders come one by one.
class Shop {
 public:
  explicit Shop(const ShopOptions& options)
      : unreachable_(options.unreachable.begin(), options.unreachable.end()),
        refunds_fail_(options.refunds_fail),
        stock_(options.stock),
        balance_(options.balance) {}

  std::vector<weir::Subscription> work_for(weir::EventBus& bus) {
    std::vector<weir::Subscription> steps;
    steps.push_back(
        bus.subscribe(put_aside, weir::compensated([this](const Order& order) { reserve(order); },
                                                   [this](const Order& order) { stock_ += order.pieces; })));
    steps.push_back(bus.subscribe(
        take_money,
        weir::compensated([this](const Order& order, weir::EventContext& context) { return charge(order, context); },
                          [this](const Order& order) { return refund(order); })));
    steps.push_back(bus.subscribe(book_parcel, weir::compensated([this](const Order& order) { return ship(order); },
                                                                 [this](const Order&) { --parcels_; })));
    steps.push_back(bus.subscribe(send_mail, [this](const std::string& text) { mails_.push_back(text); }));
    return steps;
  }

  /// When nothing runs any more.
  [[nodiscard]] std::string books() const {
    std::string text = fmt::format("{} pieces, {} in the account, {} taken, {} parcels, {} mails\n", stock_, balance_,
                                   taken_, parcels_, mails_.size());
    for (const auto& mail : mails_) text += fmt::format("mail: {}\n", mail);
    return text;
  }

 private:
  void reserve(const Order& order) {
    if (order.pieces > stock_) throw std::runtime_error(fmt::format("only {} in stock", stock_));
    stock_ -= order.pieces;
  }
  weir::Task<> charge(const Order& order, weir::EventContext& context) {
    const int sum = order.pieces * order.price;
    co_await weir::sleep_for(std::chrono::milliseconds(1));
    if (sum > balance_) throw std::runtime_error(fmt::format("the account has {}, not {}", balance_, sum));
    balance_ -= sum;
    taken_ += sum;
    // Held back until the whole order has come off: nobody is sent a receipt for what was undone.
    auto receipt = fmt::format("receipt for order {}: {}", order.number, sum);
    co_await context.publish(send_mail.name(), std::move(receipt));
  }
  weir::Task<> refund(const Order& order) {
    co_await weir::sleep_for(std::chrono::milliseconds(1));
    if (refunds_fail_) throw std::runtime_error("the bank does not answer");
    balance_ += order.pieces * order.price;
    taken_ -= order.pieces * order.price;
  }
  weir::Task<> ship(const Order& order) {
    co_await weir::sleep_for(std::chrono::milliseconds(1));
    if (unreachable_.contains(order.place)) throw std::runtime_error("nobody delivers to " + order.place);
    ++parcels_;
  }

  const std::set<std::string> unreachable_;
  const bool refunds_fail_;
  int stock_;
  int balance_;
  int taken_ = 0;
  int parcels_ = 0;
  std::vector<std::string> mails_;
};

std::string reason(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& e) {
    return e.what();
  } catch (...) {
    return "unknown";
  }
}

std::string describe(const Order& order, const weir::BatchReport& report) {
  std::string text = fmt::format("order {}: {}", order.number, name_of(report.outcome));
  if (report.error) text += ": " + reason(report.error);
  for (const auto& left : report.not_undone) {
    text += fmt::format("\n  event {} ({}) stands: {}", left.id(), left.topic(), reason(left.error()));
  }
  return text + "\n";
}

/// False: something was left that a person has to look after.
weir::Task<bool> serve(weir::EventBus& bus, const std::vector<Order>& orders) {
  bool clean = true;
  for (const Order& order : orders) {
    std::vector<weir::Event> steps;
    for (const auto& topic : {put_aside, take_money, book_parcel}) {
      steps.emplace_back(topic, order);
      steps.back().key(std::to_string(order.number));
    }
    auto saga = bus.publish_batch(std::move(steps), weir::BatchMode::saga);
    const auto report = co_await std::move(saga);
    example::print(describe(order, report));
    clean = clean && report.outcome != weir::BatchOutcome::rollback_incomplete;
  }
  co_await bus.drain();
  co_return clean;
}

std::vector<Order> read_orders(std::istream& in) {
  std::vector<Order> orders;
  for (std::string line; std::getline(in, line);) {
    Order order;
    char place[64] = {};
    if (std::sscanf(line.c_str(), "%4d %4d %63s", &order.pieces, &order.price, place) != 3 || order.pieces < 1 ||
        order.price < 0) {
      example::complain(program, fmt::format("\"{}\" is no order and is left out", line));
      continue;
    }
    order.number = static_cast<int>(orders.size()) + 1;
    order.place = place;
    orders.push_back(order);
  }
  return orders;
}

int run(const ShopOptions& options) {
  std::ifstream file;
  if (options.path != "-") {
    file.open(options.path);
    if (!file) throw std::system_error(errno, std::generic_category(), options.path);
  }
  const auto orders = read_orders(options.path == "-" ? std::cin : file);
  asio::thread_pool pool(2);
  Shop shop(options);
  weir::EventBus bus(pool, {.workers = 4});
  const auto steps = shop.work_for(bus);
  const bool clean = weir::sync_wait(serve(bus, orders));
  example::print(shop.books());
  return clean ? example::exit_done : example::exit_failed;
}

}  // namespace

int main(int argc, char** argv) {
  ShopOptions options;
  CLI::App app("Orders as sagas: goods, money and parcel, or nothing of it.", std::string(program));
  app.add_option("FILE", options.path, "lines of pieces, a price and a place; - is standard input")->required();
  app.add_option("--stock", options.stock, "pieces in stock")->capture_default_str();
  app.add_option("--balance", options.balance, "what is in the customers' account")->capture_default_str();
  app.add_option("--unreachable", options.unreachable, "a place where no parcel goes");
  app.add_flag("--refunds-fail", options.refunds_fail, "the bank takes money, but does not give it back");
  if (const auto code = example::parse(app, argc, argv)) return *code;
  try {
    return run(options);
  } catch (const std::exception& error) {
    example::complain(program, error.what());
  }
  return example::exit_failed;
}
