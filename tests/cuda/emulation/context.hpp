// Stacks that an OS thread changes between, without a system call where it is an x86-64.
#pragma once
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <new>
#include <vector>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#define EMULATION_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMULATION_ASAN 1
#endif
#endif
#ifdef EMULATION_ASAN
#include <pthread.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(__x86_64__)
// Keeps what a called function must keep, changes the stack, and goes on where that one was left.
extern "C" void emulation_switch_stack(void** from, void* to);
asm(R"(
  .pushsection .text.emulation_switch_stack,"axG",@progbits,emulation_switch_stack,comdat
  .weak emulation_switch_stack
  .hidden emulation_switch_stack
  .type emulation_switch_stack, @function
emulation_switch_stack:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
  .size emulation_switch_stack, .-emulation_switch_stack
  .popsection
)");
#endif

namespace emulation {

struct Context {
  char* bottom = nullptr;  // of its stack
  std::size_t size = 0;
#if defined(__x86_64__)
  void* top = nullptr;  // the stack pointer where it was left
#else
  ucontext_t left;
#endif
  void* fake_stack = nullptr;  // AddressSanitizer's
};

constexpr std::size_t page = 4096;
constexpr std::size_t stack_bytes = std::size_t{256} << 10;  // pages that nothing touches cost none

// Stacks that nobody uses just now: to make one takes longer than to use it.
class Stacks {
 public:
  Context* take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (spare_.empty()) return make();
    Context* stack = spare_.back();
    spare_.pop_back();
    return stack;
  }
  void give(const std::vector<Context*>& stacks) {
    const std::lock_guard<std::mutex> lock(mutex_);
    spare_.insert(spare_.end(), stacks.begin(), stacks.end());
  }

 private:
  static Context* make() {
    void* memory = mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    mprotect(memory, page, PROT_NONE);  // a stack that grows over its end is a crash
    auto* stack = new Context;
    stack->bottom = static_cast<char*>(memory);
    stack->size = stack_bytes;
    return stack;
  }

  std::mutex mutex_;
  std::vector<Context*> spare_;
};
inline Stacks& stacks() {
  static Stacks* all = new Stacks;
  return *all;
}

// Makes a context begin with `entry`, which never returns.
inline void begin(Context& context, void (*entry)()) {
#ifdef EMULATION_ASAN
  // What was left on it for good is still marked.
  ASAN_UNPOISON_MEMORY_REGION(context.bottom + page, context.size - page);
  context.fake_stack = nullptr;
#endif
#if defined(__x86_64__)
  void** top = reinterpret_cast<void**>(context.bottom + context.size) - 2;
  *top = reinterpret_cast<void*>(entry);  // where `ret` goes; above it no caller
  top[1] = nullptr;
  std::memset(top - 6, 0, 6 * sizeof(void*));
  context.top = top - 6;
#else
  getcontext(&context.left);
  context.left.uc_stack.ss_sp = context.bottom;
  context.left.uc_stack.ss_size = context.size;
  context.left.uc_link = nullptr;
  makecontext(&context.left, entry, 0);
#endif
}

// The first thing on a new stack.
inline void arrived([[maybe_unused]] void* fake_stack) {
#ifdef EMULATION_ASAN
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
}

// `for_good`: nobody will come back to `from`.
inline void change([[maybe_unused]] Context& from, Context& to, [[maybe_unused]] bool for_good) {
#ifdef EMULATION_ASAN
  __sanitizer_start_switch_fiber(for_good ? nullptr : &from.fake_stack, to.bottom, to.size);
#endif
#if defined(__x86_64__)
  emulation_switch_stack(&from.top, to.top);
#else
  swapcontext(&from.left, &to.left);
#endif
  arrived(from.fake_stack);
}

// The context of an OS thread itself.
inline void describe_this_thread([[maybe_unused]] Context& context) {
#ifdef EMULATION_ASAN
  pthread_attr_t attributes;
  void* bottom = nullptr;
  pthread_getattr_np(pthread_self(), &attributes);
  pthread_attr_getstack(&attributes, &bottom, &context.size);
  pthread_attr_destroy(&attributes);
  context.bottom = static_cast<char*>(bottom);
#endif
}

}  // namespace emulation
