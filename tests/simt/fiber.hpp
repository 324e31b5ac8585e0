// SPDX-FileCopyrightText: The ltxmem authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <cstddef>
#include <cstdint>
#include <new>

/// Stacks that one thread of the host switches between.

namespace simt {

/// A stack and the place where it was left.
///
/// ucontext gives a fiber its stack once; every later switch is a _setjmp and a _longjmp, which save registers only,
/// whereas swapcontext makes a system call each time. No assembly, so nothing here depends on the processor.
class Fiber {
 public:
  static constexpr std::size_t stack_bytes = 256 << 10;

  Fiber() = default;
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;
  ~Fiber() {
    if (stack_ != nullptr) munmap(stack_, stack_bytes);
  }

  /// Gives the fiber a stack on which entry() will run; entry never returns. Pages are taken when touched.
  void start(void (*entry)()) {
    if (stack_ == nullptr) {
      void* memory =
          mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (memory == MAP_FAILED) throw std::bad_alloc();
      stack_ = memory;
    }
    getcontext(&context_);
    context_.uc_stack.ss_sp = stack_;
    context_.uc_stack.ss_size = stack_bytes;
    context_.uc_link = nullptr;
    makecontext(&context_, entry, 0);
    entered_ = false;
  }

  /// Leaves `from` here and goes on where `to` was left.
  static void change(Fiber& from, Fiber& to) {
    if (_setjmp(from.place_) != 0) return;
    if (to.entered_) _longjmp(to.place_, 1);
    to.entered_ = true;
    setcontext(&to.context_);
  }

  /// Whether the address lies on this fiber's stack.
  bool holds(std::uintptr_t address) const {
    const auto begin = reinterpret_cast<std::uintptr_t>(stack_);
    return address >= begin && address < begin + stack_bytes;
  }

 private:
  void* stack_ = nullptr;
  ucontext_t context_{};
  jmp_buf place_{};
  bool entered_ = true;  // the host's own stack is one that already runs
};

}  // namespace simt
