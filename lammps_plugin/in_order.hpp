// Items worked on by several threads as they come, and finished one after the other, in order: what is summed over
// items is then the same, bit by bit, for any number of threads.
//
//   thread A   work 0 | finish 0 | work 2           | finish 1 2 | work 4
//   thread B   work 1                   | work 3                     | finish 3
//
// Results wait in slots: a thread that is held up (the system gave its core to someone else) stops the others only
// when every slot is taken.
#pragma once

#include <condition_variable>
#include <mutex>
#include <vector>

namespace allegro_dist {

class InOrder {
 public:
  InOrder(int num_items, int num_slots) : num_items_(num_items), is_worked_(num_slots, 0) {}

  // Called once by each thread; returns when nothing is left to begin.
  // work(item, slot) runs at any time, finish(slot) alone and in the items' order. Neither may throw.
  template <class Work, class Finish>
  void run(const Work &work, const Finish &finish) {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      slot_is_free_.wait(lock, [&] { return next_ == num_items_ || next_ - num_finished_ < num_slots(); });
      if (next_ == num_items_) return;
      const int item = next_++;
      lock.unlock();
      work(item, item % num_slots());
      lock.lock();
      is_worked_[item % num_slots()] = 1;
      if (!is_finishing_) finish_those_in_turn(finish, lock);
    }
  }

 private:
  template <class Finish>
  void finish_those_in_turn(const Finish &finish, std::unique_lock<std::mutex> &lock) {
    is_finishing_ = true;
    for (int slot; is_worked_[slot = num_finished_ % num_slots()];) {
      lock.unlock();
      finish(slot);
      lock.lock();
      is_worked_[slot] = 0;
      ++num_finished_;
      slot_is_free_.notify_all();
    }
    is_finishing_ = false;
  }

  int num_slots() const { return static_cast<int>(is_worked_.size()); }

  const int num_items_;
  std::vector<char> is_worked_;  // [slot]
  int next_ = 0, num_finished_ = 0;
  bool is_finishing_ = false;
  std::mutex mutex_;
  std::condition_variable slot_is_free_;
};

}  // namespace allegro_dist
