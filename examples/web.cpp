// web - serves the files of a folder over HTTP/1.1 (RFC 9110, RFC 9112).
// SPDX-License-Identifier: MIT
//
//   web . 127.0.0.1:8080 &
//   curl http://127.0.0.1:8080/README.md

#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <regex>
#include <sstream>

#include "netlite.hpp"

namespace fs = std::filesystem;
namespace net = netlite;
using namespace std::chrono_literals;

// Reads the head of a request: its lines, up to an empty one.
net::Result<std::string> read_request(net::Reader& reader) {
  for (std::string request;;) {
    const auto [line, err] = reader.read_line(16384 - request.size());
    if (err || line.empty()) return {request, err};
    request += line + "\n";
  }
}

// The path that a target means: without its query, and %41 is an A.
std::string path_of(const std::string& target) {
  std::string path = target.substr(0, target.find('?'));
  for (std::size_t i = 0; (i = path.find('%', i)) != path.npos; ++i) {
    const long byte = std::strtol(path.substr(i + 1, 2).c_str(), nullptr, 16);
    path.replace(i, 3, 1, static_cast<char>(byte));
  }
  return !path.empty() && path.back() == '/' ? path + "index.html" : path;
}

// The types of files that a browser has to be told.
const std::map<fs::path, std::string> types = {
    {".html", "text/html"},     {".css", "text/css"},
    {".js", "text/javascript"}, {".svg", "image/svg+xml"},
    {".png", "image/png"},      {".jpg", "image/jpeg"},
    {".md", "text/plain"},      {".txt", "text/plain"}};

// A head, and so many bytes from where the file stands.
struct Answer {
  std::string status, headers{};
  std::ifstream file{};
  unsigned long long size = 0;
};

// Cuts it to a range: "2-5", "2-" or "-4". Others may be ignored.
void cut(Answer& answer, const std::string& request) {
  static const std::regex range(
      "\n[Rr]ange: ?bytes=(?:(\\d{1,18})-(\\d{1,18})?|-(\\d{1,18}))\n");
  std::smatch part;
  if (!std::regex_search(request, part, range)) return;
  unsigned long long first = 0, end = answer.size;
  if (part[1].matched) first = std::stoull(part[1]);
  if (part[2].matched) end = std::min(end, std::stoull(part[2]) + 1);
  if (part[3].matched) first = end - std::min(end, std::stoull(part[3]));
  const bool some = first < end;
  answer.status = some ? "206 Partial Content" : "416 Range Not Satisfiable";
  answer.headers +=
      "Content-Range: bytes " +
      (some ? std::to_string(first) + "-" + std::to_string(end - 1) : "*") +
      "/" + std::to_string(answer.size) + "\r\n";
  answer.file.seekg(static_cast<std::streamoff>(first));
  answer.size = some ? end - first : 0;
}

Answer answer(const std::string& request, const std::string& folder) {
  std::string method, target, version;
  std::istringstream(request) >> method >> target >> version;
  const std::string path = path_of(target);
  if (version.rfind("HTTP/1.", 0) != 0 || path.find('\0') != path.npos)
    return {"400 Bad Request"};
  if (method != "GET" && method != "HEAD")
    return {"405 Method Not Allowed", "Allow: GET, HEAD\r\n"};
  std::error_code no;
  const fs::path name = fs::canonical(folder + path, no);
  const bool inside = name.string().rfind(folder, 0) == 0;  // after all links
  if (!inside || !fs::is_regular_file(name, no)) return {"404 Not Found"};
  const auto type = types.find(name.extension());
  Answer whole{
      "200 OK",
      type == types.end() ? "" : "Content-Type: " + type->second + "\r\n",
      std::ifstream(name, std::ios::binary), fs::file_size(name, no)};
  if (!whole.file) return {"403 Forbidden"};
  if (method == "GET") cut(whole, request);
  if (method == "HEAD") whole.file.close();
  return whole;
}

net::Error send(const net::Conn& client, Answer answer) {
  const std::string head =
      "HTTP/1.1 " + answer.status + "\r\n" + answer.headers +
      "Content-Length: " + std::to_string(answer.size) + "\r\n\r\n";
  const auto [sent, err] = net::write(client, head);
  if (err || !answer.file.is_open()) return err;
  net::Reader file([&](net::Buffer room) -> net::Result<std::size_t> {
    net::set_write_deadline(client, 10s);  // anew for each piece
    answer.file.read(room.data(), static_cast<std::streamsize>(room.size()));
    const auto n = static_cast<std::size_t>(answer.file.gcount());
    return {n, n ? net::Error() : net::unexpected_eof};  // it has shrunk
  });
  return net::copy(client, file, answer.size).error;
}

net::Error converse(const net::Conn& client, const std::string& folder) {
  net::set_write_buffer(client, 1 << 18);  // small: full while nothing moves
  net::Reader reader(client);
  for (bool last = false; !last;) {
    net::set_deadline(client, 10s);
    const auto [request, err] = read_request(reader);
    if (err && err != net::limit_exceeded) return {};  // gone, or silent
    // We read no body: what stands behind one is not the next request.
    static const std::regex end("\n(Connection: ?close|Content-|Transfer-)",
                                std::regex::icase);
    last = err || request.find(" HTTP/1.1\n") == request.npos ||
           std::regex_search(request, end);
    Answer reply = err ? Answer{"431 Request Header Fields Too Large"}
                       : answer(request, folder);
    if (last) reply.headers += "Connection: close\r\n";
    if (const auto why = send(client, std::move(reply))) return why;
  }
  // To close with words unread is a reset, which may overtake the answer.
  net::close_write(client);
  char ignored[4096];
  while (!net::read(client, ignored).error) continue;
  return {};
}

int main(int argc, char** argv) try {
  if (argc != 3) {
    std::cerr << "usage: web FOLDER HOST:PORT\n";
    return 2;
  }
  const std::string folder = fs::canonical(argv[1]) / "";
  const auto listener = net::must(net::listen("tcp", argv[2]));
  std::cerr << "listening on " << net::addr(listener) << "\n";
  const auto complain = [](auto& e) { std::cerr << "web: " << e << "\n"; };
  const auto visit = [&](net::Conn conn) { return converse(conn, folder); };
  net::must(net::serve(listener, visit, {250, 5s, complain}));  // 250 at most
} catch (const std::exception& failure) {
  std::cerr << "web: " << failure.what() << "\n";
  return 1;
}
