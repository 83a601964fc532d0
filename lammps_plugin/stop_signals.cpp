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

bool is_default(int number) {
  struct sigaction present;
  return sigaction(number, nullptr, &present) == 0 && present.sa_handler == SIG_DFL;
}

}  // namespace

void catch_stop_signals() {
  for (const int number : stop_signals)
    if (!is_default(number)) return;
  struct sigaction action = {};
  action.sa_handler = note_stop_signal;
  action.sa_flags = SA_RESTART;  // LAMMPS's reading and writing go on as if nothing had come
  for (const int number : stop_signals) sigaction(number, &action, nullptr);
}

bool stop_signal_came() {
  return came != 0;
}

}  // namespace allegro_dist
