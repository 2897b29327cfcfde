// SPDX-License-Identifier: MIT
// Any text is an IP address or refused; printed and parsed, it is the same.
#include "fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const unsigned char* data,
                                      std::size_t size) {
  const std::string_view text = fuzz::text(data, size);
  const auto [ip, err] = net::parse_ip(text);
  fuzz::check(bool(ip) == !err, "neither address nor error");
  if (err) return 0;
  const auto [again, err2] = net::parse_ip(ip.string());
  fuzz::check(!err2 && again == ip, "printed and parsed, it is another");
  fuzz::check(ip.is4() != ip.is6(), "no family, or two");
  fuzz::check(ip.zone().empty() || ip.is6(), "IPv4 with a zone");
  const std::size_t percent = text.find('%');
  fuzz::check(
      ip.zone() == (percent == text.npos ? "" : text.substr(percent + 1)),
      "another zone");
  const std::string plain_text = ip.string().substr(0, ip.string().find('%'));
  fuzz::check(plain_text.find('.') == std::string::npos || ip.unmap().is4(),
              "IPv6 printed in the outdated way");
  // No address is of two kinds that exclude each other.
  const int kinds = ip.is_unspecified() + ip.is_loopback() + ip.is_multicast() +
                    ip.is_link_local_unicast() + ip.is_global_unicast();
  fuzz::check(kinds <= 1, "two kinds at once");
  // Nor does its IPv6 form belong to other classes.
  const net::IP plain = ip.unmap();
  fuzz::check(plain.is_loopback() == ip.is_loopback() &&
                  plain.is_private() == ip.is_private() &&
                  plain.is_multicast() == ip.is_multicast() &&
                  plain.is_unspecified() == ip.is_unspecified() &&
                  plain.is_global_unicast() == ip.is_global_unicast(),
              "mapped, it is of another class");
  return 0;
}
