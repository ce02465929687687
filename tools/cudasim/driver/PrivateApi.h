/*===- PrivateApi.h - how other simulated libraries use the driver ---------===*
 *
 * Plain C, exported by libmoec_cudasim.so beside the driver API and used by
 * the stand-ins for cuBLASLt and NCCL: work of theirs is put in simulated
 * streams, captured in graphs, and reaches device memory after a check. No
 * program should call this; it may change at any time.
 *
 *===----------------------------------------------------------------------===*/
#ifndef CUDASIM_DRIVER_PRIVATEAPI_H
#define CUDASIM_DRIVER_PRIVATEAPI_H

#include <cuda.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One operation. `arg` is its description; `begin` makes an instance of it
 * each time it is submitted: at the call, or at each launch of the graph that
 * it was captured into. All functions are called with the driver's lock held
 * and must not call the driver API. */
typedef struct MoecCudasimOp {
  /* For reports; copied. */
  const char *label;
  void *arg;
  /* Frees `arg` once nothing can submit the operation any more. */
  void (*destroy)(void *arg);
  /* May be null: then the instance is `arg`. */
  void *(*begin)(void *arg);
  /* Whether the instance may run now; null: always. */
  int (*ready)(void *instance);
  /* Runs and frees the instance. Adds estimated microseconds to *micros. */
  CUresult (*run)(void *instance, double *micros);
  /* Frees an instance that will not run; may be null. */
  void (*drop)(void *instance);
  /* Writes what the instance waits for; may be null. */
  void (*explain)(void *instance, char *text, size_t bytes);
} MoecCudasimOp;

/* Submits to a stream of the current context, or captures. */
CUresult moecCudasimEnqueue(CUstream stream, const MoecCudasimOp *op);

/* Whether a kernel of `device` could access the bytes; the reason why not goes
 * to `why`. */
CUresult moecCudasimCheckRange(int device, CUdeviceptr address, size_t bytes,
                               int write, char *why, size_t whyBytes);

/* Where the bytes lie, unchecked; only valid inside of `run`. */
void *moecCudasimBytes(CUdeviceptr address);
/* Notes that bytes were written through moecCudasimBytes. */
void moecCudasimWritten(CUdeviceptr address, size_t bytes);

/* The device of the current context and of a stream; -1 without one. */
int moecCudasimCurrentDevice(void);
int moecCudasimStreamDevice(CUstream stream);
/* The number that reports call the stream by. */
unsigned long long moecCudasimStreamId(CUstream stream);

/* The driver's lock, so that a library needs none of its own. Never held over
 * moecCudasimWait. */
void moecCudasimLock(void);
void moecCudasimUnlock(void);
/* Waits, without the lock, until `holds` (asked with it) is not 0. Returns 0
 * after the time in which nothing happening counts as a deadlock. */
int moecCudasimWait(int (*holds)(void *arg), void *arg);
/* Tells waiting threads that something has changed; with the lock. */
void moecCudasimNotify(void);

/* A line on the driver's log: level 0 is a fault, 1 an explained error. */
void moecCudasimLog(int level, const char *text);

#ifdef __cplusplus
}
#endif

#endif
