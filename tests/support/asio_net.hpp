/// The parts of Asio that only tests use: sockets and more ways to complete.
#pragma once

#include <asio/ip/tcp.hpp>
#include <asio/read.hpp>
#include <asio/system_executor.hpp>
#include <asio/use_future.hpp>
#include <asio/write.hpp>

#include <weir/asio.hpp>
