cmake_minimum_required(VERSION 3.15)
project(user LANGUAGES CXX)

include(FetchContent)
FetchContent_Declare(netlite
  GIT_REPOSITORY https://example.com/netlite.git
  GIT_TAG v0.2.0)
FetchContent_MakeAvailable(netlite)
add_executable(user main.cpp)
target_link_libraries(user PRIVATE netlite::netlite)
