/// Imports bookings from a CSV file, and puts the lines aside that are none.
///
///     csv_import [--rejects FILE] [--workers N] FILE
///
/// FILE begins with the header "date,account,amount"; each line after it is a booking. What is imported is summed up by
/// account. A line that is malformed goes to the dead letters of the stream, and from there to the file of rejects with
/// its number and what is wrong with it; the import goes on.
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <csv.h>
#include <fmt/format.h>
#include <weir/weir.hpp>

#include "support/options.hpp"
#include "support/output.hpp"

namespace {

constexpr std::string_view program = "csv_import";
constexpr std::string_view header = "date,account,amount";

struct ImportOptions {
  std::string path;
  std::string rejects;
  std::size_t workers = 2;
};

struct Booking {
  std::string account;
  std::int64_t cents = 0;
};
struct Account {
  std::uint64_t bookings = 0;
  std::int64_t cents = 0;
};
using Accounts = std::map<std::string, Account>;
using Letter = weir::DeadLetter<std::string>;

struct Malformed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The fields of one line, as libcsv reads them: strictly, with quotes.
class Fields {
 public:
  explicit Fields(const std::string& line) {
    csv_parser parser;
    if (csv_init(&parser, CSV_STRICT | CSV_STRICT_FINI) != 0) throw std::bad_alloc();
    const std::unique_ptr<csv_parser, void (*)(csv_parser*)> owner(&parser, &csv_free);
    const auto add = [](void* text, std::size_t size, void* fields) {
      static_cast<Fields*>(fields)->fields_.emplace_back(static_cast<const char*>(text), size);
    };
    const bool read = csv_parse(&parser, line.data(), line.size(), add, nullptr, this) == line.size() &&
                      csv_fini(&parser, add, nullptr, this) == 0;
    if (!read) throw Malformed(csv_strerror(csv_error(&parser)));
  }
  [[nodiscard]] std::size_t size() const { return fields_.size(); }
  [[nodiscard]] const std::string& operator[](std::size_t i) const { return fields_[i]; }

 private:
  std::vector<std::string> fields_;
};

/// "12.34", "-5"
std::int64_t cents_of(const std::string& text) {
  std::int64_t whole = 0;
  const char* const end = text.data() + text.size();
  auto [rest, error] = std::from_chars(text.data(), end, whole);
  constexpr std::int64_t most = 1'000'000'000'000;
  if (error != std::errc() || whole > most || whole < -most) throw Malformed("'" + text + "' is no amount");
  std::int64_t cents = 0;
  if (rest != end) {
    const bool two_digits =
        end - rest == 3 && rest[0] == '.' && rest[1] >= '0' && rest[1] <= '9' && rest[2] >= '0' && rest[2] <= '9';
    if (!two_digits) throw Malformed("'" + text + "' is no amount");
    cents = (rest[1] - '0') * 10 + (rest[2] - '0');
  }
  return whole * 100 + (text[0] == '-' ? -cents : cents);
}

std::optional<Booking> parse(const weir::ReceiverEvent<std::string>& line) {
  if (line.id() == 1) {
    if (line.data() != header) throw Malformed(fmt::format("the header is not '{}'", header));
    return std::nullopt;
  }
  const Fields fields(line.data());
  if (fields.size() != 3) throw Malformed(fmt::format("{} fields, not 3", fields.size()));
  if (fields[1].empty()) throw Malformed("no account");
  return Booking{fields[1], cents_of(fields[2])};
}

/// Until the stream has ended, and with it its end of the channel.
weir::Task<> write_rejects(weir::ChannelReceiver<Letter> letters, std::FILE* file) {
  while (auto letter = co_await letters.receive()) {
    fmt::print(file, "{}: {}: {}\n", letter->event().id(), letter->message(), letter->data());
  }
}

weir::Task<bool> import_bookings(asio::thread_pool& pool, const ImportOptions& options, std::FILE* rejects) {
  auto [tx, rx] = weir::make_channel<Letter>(pool, {.capacity = 64});
  const auto add = [](Account& account, const Booking& booking) {
    ++account.bookings;
    account.cents += booking.cents;
  };
  auto stream = weir::emits<std::string>(pool)
                    .named("bookings")
                    .on_error(weir::dead_letter(std::move(tx)))
                    .sender(weir::lines_of(options.path))
                    .receiver(weir::parallel(options.workers), parse)
                    .collect(weir::collect::keyed(&Booking::account, weir::collect::fold(Account(), add)))
                    .start();
  co_await write_rejects(std::move(rx), rejects);
  const auto final = co_await stream.final_event();
  if (!final) throw std::runtime_error(final.error().text());
  std::uint64_t bookings = 0;
  for (const auto& [account, sum] : final.collected()) {
    example::print(fmt::format("{} {} {:.2f}\n", account, sum.bookings, static_cast<double>(sum.cents) / 100));
    bookings += sum.bookings;
  }
  const std::uint64_t rejected = final.stats().dead_lettered;
  if (rejected != 0) {
    example::complain(program, fmt::format("{} booking(s) imported, {} line(s) rejected", bookings, rejected));
  }
  co_return rejected == 0;
}

int run(const ImportOptions& options) {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(nullptr, &std::fclose);
  if (!options.rejects.empty()) {
    file.reset(std::fopen(options.rejects.c_str(), "w"));
    if (!file) throw std::system_error(errno, std::generic_category(), options.rejects);
  }
  asio::thread_pool pool(options.workers + 1);
  const bool all = weir::sync_wait(import_bookings(pool, options, file ? file.get() : stderr));
  return all ? example::exit_done : example::exit_failed;
}

}  // namespace

int main(int argc, char** argv) {
  ImportOptions options;
  CLI::App app("Imports bookings (date,account,amount) from a CSV file and sums them up by account.",
               std::string(program));
  app.add_option("FILE", options.path, "the bookings, one a line below the header")->required();
  app.add_option("--rejects", options.rejects, "where the lines go that are no bookings (standard error)");
  app.add_option("--workers", options.workers, "how many lines are read at once")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.footer("A booking that was rejected makes the exit code 1; the others are imported.");
  if (const auto code = example::parse(app, argc, argv)) return *code;
  try {
    return run(options);
  } catch (const std::exception& error) {
    example::complain(program, error.what());
  }
  return example::exit_failed;
}
