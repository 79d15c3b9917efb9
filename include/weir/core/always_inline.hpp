/// `WEIR_ALWAYS_INLINE`: for the few functions whose call would cost more than they do, and which the compiler leaves
/// out of a coroutine's body when left to itself (GCC 12 does, at -O2).
#pragma once

/// Before a function's type, after its attributes. Nothing in builds without optimisation and under sanitizers: there
/// it would only cost time to compile.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__OPTIMIZE__)
#  define WEIR_ALWAYS_INLINE inline
#elif defined(__has_feature)
#  if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#    define WEIR_ALWAYS_INLINE inline
#  endif
#endif
#if !defined(WEIR_ALWAYS_INLINE)
#  if defined(__GNUC__)
#    define WEIR_ALWAYS_INLINE [[gnu::always_inline]] inline
#  else
#    define WEIR_ALWAYS_INLINE inline
#  endif
#endif
