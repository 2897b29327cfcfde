// As recipes.cpp: the answers that need OpenSSL.
//
//   recipes_tls client|silent|greet ADDRESS
//   recipes_tls server|cut ADDRESS CERTIFICATE KEY
//
// SPDX-License-Identifier: MIT

#include "netlite.hpp"

// OpenSSL's macros have casts in them.
#pragma GCC diagnostic ignored "-Wold-style-cast"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <csignal>
#include <iostream>
#include <string>

namespace net = netlite;
using namespace std::chrono_literals;

namespace {

namespace bio {
// … encrypt it?

// Prints the lines that come, to the end.
net::Error client(const net::Conn& conn) {
  // … encrypt it? (2)
  while (!err) {
    std::cout << line << std::endl;
    auto next = reader.read_line();
    line = next.value;
    err = next.error;
  }
  SSL_shutdown(tls);
  SSL_free(tls);
  SSL_CTX_free(context);
  return err == net::eof ? net::Error() : err;
}

// Says one line again; `cut` leaves without a goodbye.
net::Error server(const std::string& address, const char* certificate,
                  const char* key, bool cut) {
  const auto listener = net::must(net::listen("tcp", address));
  std::cerr << "Listening on " << net::addr(listener) << std::endl;
  SSL_CTX* context = SSL_CTX_new(TLS_server_method());
  if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1 ||
      SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
    ERR_print_errors_fp(stderr);
  const net::Conn conn = net::must(net::accept(listener));
  SSL* tls = SSL_new(context);
  BIO* bio = bio_of(conn);
  SSL_set_bio(tls, bio, bio);
  if (SSL_accept(tls) != 1) ERR_print_errors_fp(stderr);
  char buffer[4096];
  const int n = SSL_read(tls, buffer, sizeof buffer);
  if (n > 0 && !cut) SSL_write(tls, buffer, n);
  if (!cut) SSL_shutdown(tls);
  SSL_free(tls);
  SSL_CTX_free(context);
  return {};
}
}  // namespace bio

namespace descriptor {
// … use a library that takes a descriptor?

// Prints what comes, to the end.
net::Error run(const net::Conn& conn) {
  SSL_CTX* context = SSL_CTX_new(TLS_client_method());
  SSL* tls = SSL_new(context);
  net::Error err = greet(conn, tls);
  while (!err) {
    char buffer[4096];
    int n = 0;
    const auto read = [&] { return n = SSL_read(tls, buffer, sizeof buffer); };
    err = persist(conn, tls, read);
    if (!err) std::cout.write(buffer, n).flush();
  }
  SSL_free(tls);
  SSL_CTX_free(context);
  return err == net::eof ? net::Error() : err;
}
}  // namespace descriptor

net::Error run(const std::string& name, char** arguments) {
  const std::string address = arguments[0];
  if (name == "server" || name == "cut")
    return bio::server(address, arguments[1], arguments[2], name == "cut");
  const net::Conn conn = net::must(net::dial("tcp", address));
  if (name == "client") return bio::client(conn);
  // Somebody who never says a word.
  if (name == "silent") net::set_deadline(conn, 50ms);
  return descriptor::run(conn);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const net::Error err = run(argv[1], argv + 2);
  if (err) std::cerr << "recipes_tls: " << err << '\n';
  return err ? 1 : 0;
}
