// SPDX-License-Identifier: MIT
// The descriptors that the header keeps for the next call that blocks.
#ifndef NETLITE_TESTS_WAKEUPS_HPP
#define NETLITE_TESTS_WAKEUPS_HPP

#include "netlite.hpp"

#include <cstddef>
#include <mutex>

namespace support {

inline std::size_t wakeup_descriptors() {
  netlite::internal::Wakeups& pool = netlite::internal::Wakeups::get();
  const std::lock_guard<std::mutex> lock(pool.mutex);
  const auto& first = pool.all[0];
  return pool.made * (first.take_end == first.send_end ? 1 : 2);
}

}  // namespace support

#endif  // NETLITE_TESTS_WAKEUPS_HPP
