// Does what the command `kill` does: sends SIGTERM to a process.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>

int main(int argc, char** argv) {
  int process = argc > 1 ? std::atoi(argv[1]) : 0;
  if (process <= 1) {
    std::cerr << "Which process? It prints its number." << std::endl;
    return 1;
  }
  if (kill(process, SIGTERM) != 0) return std::perror("kill"), 1;
  std::cout << "Sent SIGTERM." << std::endl;
}
