cmake_minimum_required(VERSION 3.15)
project(user LANGUAGES CXX)

add_subdirectory(netlite)
add_executable(user main.cpp)
target_link_libraries(user PRIVATE netlite::netlite)
