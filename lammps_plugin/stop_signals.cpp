#include "stop_signals.hpp"

#include <csignal>

namespace allegro_dist {
namespace {

constexpr int stop_signals[] = {SIGINT, SIGTERM};
volatile std::sig_atomic_t came = 0;

extern "C" void note_stop_signal(int number) {
  came = 1;
  std::signal(number, SIG_DFL);
}

auto handler_of(int number) {
  struct sigaction present = {};
  sigaction(number, nullptr, &present);
  return present.sa_handler;
}

}  // namespace

void catch_stop_signals() {
  for (const int number : stop_signals)
    if (handler_of(number) != SIG_DFL && handler_of(number) != SIG_IGN) return;  // the program has ways of its own
  struct sigaction action = {};
  action.sa_handler = note_stop_signal;
  action.sa_flags = SA_RESTART;          // LAMMPS's reading and writing go on as if nothing had come
  for (const int number : stop_signals)  // jobs in the background ignore SIGINT, and go on doing so
    if (handler_of(number) == SIG_DFL) sigaction(number, &action, nullptr);
}

bool stop_signal_came() {
  return came != 0;
}

}  // namespace allegro_dist
