// The calls that take handle 0 for the thread's own default stream: the same
// calls, with that said. Sorted by name.
#include "tools/cudasim/driver/Call.h"

using cudasim::driver::perThread;

CUresult CUDAAPI cuEventRecordWithFlags_ptsz(CUevent hEvent, CUstream hStream,
                                             unsigned int flags) {
  return perThread(cuEventRecordWithFlags, hEvent, hStream, flags);
}

CUresult CUDAAPI cuEventRecord_ptsz(CUevent hEvent, CUstream hStream) {
  return perThread(cuEventRecord, hEvent, hStream);
}

CUresult CUDAAPI cuGraphInstantiateWithParams_ptsz(
    CUgraphExec *phGraphExec, CUgraph hGraph,
    CUDA_GRAPH_INSTANTIATE_PARAMS *instantiateParams) {
  return perThread(cuGraphInstantiateWithParams, phGraphExec, hGraph,
                   instantiateParams);
}

CUresult CUDAAPI cuGraphLaunch_ptsz(CUgraphExec hGraphExec, CUstream hStream) {
  return perThread(cuGraphLaunch, hGraphExec, hStream);
}

CUresult CUDAAPI cuGraphUpload_ptsz(CUgraphExec hGraphExec, CUstream hStream) {
  return perThread(cuGraphUpload, hGraphExec, hStream);
}

CUresult CUDAAPI cuLaunchCooperativeKernel_ptsz(
    CUfunction f, unsigned int gridDimX, unsigned int gridDimY,
    unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY,
    unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream,
    void **kernelParams) {
  return perThread(cuLaunchCooperativeKernel, f, gridDimX, gridDimY, gridDimZ,
                   blockDimX, blockDimY, blockDimZ, sharedMemBytes, hStream,
                   kernelParams);
}

CUresult CUDAAPI cuLaunchHostFunc_ptsz(CUstream hStream, CUhostFn fn,
                                       void *userData) {
  return perThread(cuLaunchHostFunc, hStream, fn, userData);
}

CUresult CUDAAPI cuLaunchKernelEx_ptsz(const CUlaunchConfig *config,
                                       CUfunction f, void **kernelParams,
                                       void **extra) {
  return perThread(cuLaunchKernelEx, config, f, kernelParams, extra);
}

CUresult CUDAAPI cuLaunchKernel_ptsz(
    CUfunction f, unsigned int gridDimX, unsigned int gridDimY,
    unsigned int gridDimZ, unsigned int blockDimX, unsigned int blockDimY,
    unsigned int blockDimZ, unsigned int sharedMemBytes, CUstream hStream,
    void **kernelParams, void **extra) {
  return perThread(cuLaunchKernel, f, gridDimX, gridDimY, gridDimZ, blockDimX,
                   blockDimY, blockDimZ, sharedMemBytes, hStream, kernelParams,
                   extra);
}

CUresult CUDAAPI cuMemAllocAsync_ptsz(CUdeviceptr *dptr, size_t bytesize,
                                      CUstream hStream) {
  return perThread(cuMemAllocAsync, dptr, bytesize, hStream);
}

CUresult CUDAAPI cuMemAllocFromPoolAsync_ptsz(CUdeviceptr *dptr,
                                              size_t bytesize,
                                              CUmemoryPool pool,
                                              CUstream hStream) {
  return perThread(cuMemAllocFromPoolAsync, dptr, bytesize, pool, hStream);
}

CUresult CUDAAPI cuMemFreeAsync_ptsz(CUdeviceptr dptr, CUstream hStream) {
  return perThread(cuMemFreeAsync, dptr, hStream);
}

CUresult CUDAAPI cuMemPrefetchAsync_ptsz(CUdeviceptr devPtr, size_t count,
                                         CUdevice dstDevice, CUstream hStream) {
  return perThread(cuMemPrefetchAsync, devPtr, count, dstDevice, hStream);
}

CUresult CUDAAPI cuMemPrefetchAsync_v2_ptsz(CUdeviceptr devPtr, size_t count,
                                            CUmemLocation location,
                                            unsigned int flags,
                                            CUstream hStream) {
  return perThread(cuMemPrefetchAsync_v2, devPtr, count, location, flags,
                   hStream);
}

CUresult CUDAAPI cuMemcpy2DAsync_v2_ptsz(const CUDA_MEMCPY2D *pCopy,
                                         CUstream hStream) {
  return perThread(cuMemcpy2DAsync_v2, pCopy, hStream);
}

CUresult CUDAAPI cuMemcpy2DUnaligned_v2_ptds(const CUDA_MEMCPY2D *pCopy) {
  return perThread(cuMemcpy2DUnaligned_v2, pCopy);
}

CUresult CUDAAPI cuMemcpy2D_v2_ptds(const CUDA_MEMCPY2D *pCopy) {
  return perThread(cuMemcpy2D_v2, pCopy);
}

CUresult CUDAAPI cuMemcpy3DAsync_v2_ptsz(const CUDA_MEMCPY3D *pCopy,
                                         CUstream hStream) {
  return perThread(cuMemcpy3DAsync_v2, pCopy, hStream);
}

CUresult CUDAAPI cuMemcpy3DPeerAsync_ptsz(const CUDA_MEMCPY3D_PEER *pCopy,
                                          CUstream hStream) {
  return perThread(cuMemcpy3DPeerAsync, pCopy, hStream);
}

CUresult CUDAAPI cuMemcpy3DPeer_ptds(const CUDA_MEMCPY3D_PEER *pCopy) {
  return perThread(cuMemcpy3DPeer, pCopy);
}

CUresult CUDAAPI cuMemcpy3D_v2_ptds(const CUDA_MEMCPY3D *pCopy) {
  return perThread(cuMemcpy3D_v2, pCopy);
}

CUresult CUDAAPI cuMemcpyAsync_ptsz(CUdeviceptr dst, CUdeviceptr src,
                                    size_t ByteCount, CUstream hStream) {
  return perThread(cuMemcpyAsync, dst, src, ByteCount, hStream);
}

CUresult CUDAAPI cuMemcpyDtoDAsync_v2_ptsz(CUdeviceptr dstDevice,
                                           CUdeviceptr srcDevice,
                                           size_t ByteCount, CUstream hStream) {
  return perThread(cuMemcpyDtoDAsync_v2, dstDevice, srcDevice, ByteCount,
                   hStream);
}

CUresult CUDAAPI cuMemcpyDtoD_v2_ptds(CUdeviceptr dstDevice,
                                      CUdeviceptr srcDevice, size_t ByteCount) {
  return perThread(cuMemcpyDtoD_v2, dstDevice, srcDevice, ByteCount);
}

CUresult CUDAAPI cuMemcpyDtoHAsync_v2_ptsz(void *dstHost, CUdeviceptr srcDevice,
                                           size_t ByteCount, CUstream hStream) {
  return perThread(cuMemcpyDtoHAsync_v2, dstHost, srcDevice, ByteCount,
                   hStream);
}

CUresult CUDAAPI cuMemcpyDtoH_v2_ptds(void *dstHost, CUdeviceptr srcDevice,
                                      size_t ByteCount) {
  return perThread(cuMemcpyDtoH_v2, dstHost, srcDevice, ByteCount);
}

CUresult CUDAAPI cuMemcpyHtoDAsync_v2_ptsz(CUdeviceptr dstDevice,
                                           const void *srcHost,
                                           size_t ByteCount, CUstream hStream) {
  return perThread(cuMemcpyHtoDAsync_v2, dstDevice, srcHost, ByteCount,
                   hStream);
}

CUresult CUDAAPI cuMemcpyHtoD_v2_ptds(CUdeviceptr dstDevice,
                                      const void *srcHost, size_t ByteCount) {
  return perThread(cuMemcpyHtoD_v2, dstDevice, srcHost, ByteCount);
}

CUresult CUDAAPI cuMemcpyPeerAsync_ptsz(CUdeviceptr dstDevice,
                                        CUcontext dstContext,
                                        CUdeviceptr srcDevice,
                                        CUcontext srcContext, size_t ByteCount,
                                        CUstream hStream) {
  return perThread(cuMemcpyPeerAsync, dstDevice, dstContext, srcDevice,
                   srcContext, ByteCount, hStream);
}

CUresult CUDAAPI cuMemcpyPeer_ptds(CUdeviceptr dstDevice, CUcontext dstContext,
                                   CUdeviceptr srcDevice, CUcontext srcContext,
                                   size_t ByteCount) {
  return perThread(cuMemcpyPeer, dstDevice, dstContext, srcDevice, srcContext,
                   ByteCount);
}

CUresult CUDAAPI cuMemcpy_ptds(CUdeviceptr dst, CUdeviceptr src,
                               size_t ByteCount) {
  return perThread(cuMemcpy, dst, src, ByteCount);
}

CUresult CUDAAPI cuMemsetD16Async_ptsz(CUdeviceptr dstDevice, unsigned short us,
                                       size_t N, CUstream hStream) {
  return perThread(cuMemsetD16Async, dstDevice, us, N, hStream);
}

CUresult CUDAAPI cuMemsetD16_v2_ptds(CUdeviceptr dstDevice, unsigned short us,
                                     size_t N) {
  return perThread(cuMemsetD16_v2, dstDevice, us, N);
}

CUresult CUDAAPI cuMemsetD2D16Async_ptsz(CUdeviceptr dstDevice, size_t dstPitch,
                                         unsigned short us, size_t Width,
                                         size_t Height, CUstream hStream) {
  return perThread(cuMemsetD2D16Async, dstDevice, dstPitch, us, Width, Height,
                   hStream);
}

CUresult CUDAAPI cuMemsetD2D16_v2_ptds(CUdeviceptr dstDevice, size_t dstPitch,
                                       unsigned short us, size_t Width,
                                       size_t Height) {
  return perThread(cuMemsetD2D16_v2, dstDevice, dstPitch, us, Width, Height);
}

CUresult CUDAAPI cuMemsetD2D32Async_ptsz(CUdeviceptr dstDevice, size_t dstPitch,
                                         unsigned int ui, size_t Width,
                                         size_t Height, CUstream hStream) {
  return perThread(cuMemsetD2D32Async, dstDevice, dstPitch, ui, Width, Height,
                   hStream);
}

CUresult CUDAAPI cuMemsetD2D32_v2_ptds(CUdeviceptr dstDevice, size_t dstPitch,
                                       unsigned int ui, size_t Width,
                                       size_t Height) {
  return perThread(cuMemsetD2D32_v2, dstDevice, dstPitch, ui, Width, Height);
}

CUresult CUDAAPI cuMemsetD2D8Async_ptsz(CUdeviceptr dstDevice, size_t dstPitch,
                                        unsigned char uc, size_t Width,
                                        size_t Height, CUstream hStream) {
  return perThread(cuMemsetD2D8Async, dstDevice, dstPitch, uc, Width, Height,
                   hStream);
}

CUresult CUDAAPI cuMemsetD2D8_v2_ptds(CUdeviceptr dstDevice, size_t dstPitch,
                                      unsigned char uc, size_t Width,
                                      size_t Height) {
  return perThread(cuMemsetD2D8_v2, dstDevice, dstPitch, uc, Width, Height);
}

CUresult CUDAAPI cuMemsetD32Async_ptsz(CUdeviceptr dstDevice, unsigned int ui,
                                       size_t N, CUstream hStream) {
  return perThread(cuMemsetD32Async, dstDevice, ui, N, hStream);
}

CUresult CUDAAPI cuMemsetD32_v2_ptds(CUdeviceptr dstDevice, unsigned int ui,
                                     size_t N) {
  return perThread(cuMemsetD32_v2, dstDevice, ui, N);
}

CUresult CUDAAPI cuMemsetD8Async_ptsz(CUdeviceptr dstDevice, unsigned char uc,
                                      size_t N, CUstream hStream) {
  return perThread(cuMemsetD8Async, dstDevice, uc, N, hStream);
}

CUresult CUDAAPI cuMemsetD8_v2_ptds(CUdeviceptr dstDevice, unsigned char uc,
                                    size_t N) {
  return perThread(cuMemsetD8_v2, dstDevice, uc, N);
}

CUresult CUDAAPI cuStreamAddCallback_ptsz(CUstream hStream,
                                          CUstreamCallback callback,
                                          void *userData, unsigned int flags) {
  return perThread(cuStreamAddCallback, hStream, callback, userData, flags);
}

CUresult CUDAAPI cuStreamAttachMemAsync_ptsz(CUstream hStream, CUdeviceptr dptr,
                                             size_t length,
                                             unsigned int flags) {
  return perThread(cuStreamAttachMemAsync, hStream, dptr, length, flags);
}

CUresult CUDAAPI cuStreamBeginCaptureToGraph_ptsz(
    CUstream hStream, CUgraph hGraph, const CUgraphNode *dependencies,
    const CUgraphEdgeData *dependencyData, size_t numDependencies,
    CUstreamCaptureMode mode) {
  return perThread(cuStreamBeginCaptureToGraph, hStream, hGraph, dependencies,
                   dependencyData, numDependencies, mode);
}

CUresult CUDAAPI cuStreamBeginCapture_ptsz(CUstream hStream) {
  return perThread(cuStreamBeginCapture, hStream);
}

CUresult CUDAAPI cuStreamBeginCapture_v2_ptsz(CUstream hStream,
                                              CUstreamCaptureMode mode) {
  return perThread(cuStreamBeginCapture_v2, hStream, mode);
}

CUresult CUDAAPI cuStreamCopyAttributes_ptsz(CUstream dst, CUstream src) {
  return perThread(cuStreamCopyAttributes, dst, src);
}

CUresult CUDAAPI cuStreamEndCapture_ptsz(CUstream hStream, CUgraph *phGraph) {
  return perThread(cuStreamEndCapture, hStream, phGraph);
}

CUresult CUDAAPI cuStreamGetAttribute_ptsz(CUstream hStream,
                                           CUstreamAttrID attr,
                                           CUstreamAttrValue *value_out) {
  return perThread(cuStreamGetAttribute, hStream, attr, value_out);
}

CUresult CUDAAPI cuStreamGetCaptureInfo_ptsz(
    CUstream hStream, CUstreamCaptureStatus *captureStatus_out,
    cuuint64_t *id_out) {
  return perThread(cuStreamGetCaptureInfo, hStream, captureStatus_out, id_out);
}

CUresult CUDAAPI cuStreamGetCaptureInfo_v2_ptsz(
    CUstream hStream, CUstreamCaptureStatus *captureStatus_out,
    cuuint64_t *id_out, CUgraph *graph_out,
    const CUgraphNode **dependencies_out, size_t *numDependencies_out) {
  return perThread(cuStreamGetCaptureInfo_v2, hStream, captureStatus_out,
                   id_out, graph_out, dependencies_out, numDependencies_out);
}

CUresult CUDAAPI cuStreamGetCaptureInfo_v3_ptsz(
    CUstream hStream, CUstreamCaptureStatus *captureStatus_out,
    cuuint64_t *id_out, CUgraph *graph_out,
    const CUgraphNode **dependencies_out, const CUgraphEdgeData **edgeData_out,
    size_t *numDependencies_out) {
  return perThread(cuStreamGetCaptureInfo_v3, hStream, captureStatus_out,
                   id_out, graph_out, dependencies_out, edgeData_out,
                   numDependencies_out);
}

CUresult CUDAAPI cuStreamGetCtx_ptsz(CUstream hStream, CUcontext *pctx) {
  return perThread(cuStreamGetCtx, hStream, pctx);
}

CUresult CUDAAPI cuStreamGetCtx_v2_ptsz(CUstream hStream, CUcontext *pCtx,
                                        CUgreenCtx *pGreenCtx) {
  return perThread(cuStreamGetCtx_v2, hStream, pCtx, pGreenCtx);
}

CUresult CUDAAPI cuStreamGetDevice_ptsz(CUstream hStream, CUdevice *device) {
  return perThread(cuStreamGetDevice, hStream, device);
}

CUresult CUDAAPI cuStreamGetFlags_ptsz(CUstream hStream, unsigned int *flags) {
  return perThread(cuStreamGetFlags, hStream, flags);
}

CUresult CUDAAPI cuStreamGetId_ptsz(CUstream hStream,
                                    unsigned long long *streamId) {
  return perThread(cuStreamGetId, hStream, streamId);
}

CUresult CUDAAPI cuStreamGetPriority_ptsz(CUstream hStream, int *priority) {
  return perThread(cuStreamGetPriority, hStream, priority);
}

CUresult CUDAAPI cuStreamIsCapturing_ptsz(
    CUstream hStream, CUstreamCaptureStatus *captureStatus) {
  return perThread(cuStreamIsCapturing, hStream, captureStatus);
}

CUresult CUDAAPI cuStreamQuery_ptsz(CUstream hStream) {
  return perThread(cuStreamQuery, hStream);
}

CUresult CUDAAPI cuStreamSetAttribute_ptsz(CUstream hStream,
                                           CUstreamAttrID attr,
                                           const CUstreamAttrValue *value) {
  return perThread(cuStreamSetAttribute, hStream, attr, value);
}

CUresult CUDAAPI cuStreamSynchronize_ptsz(CUstream hStream) {
  return perThread(cuStreamSynchronize, hStream);
}

CUresult CUDAAPI cuStreamUpdateCaptureDependencies_ptsz(
    CUstream hStream, CUgraphNode *dependencies, size_t numDependencies,
    unsigned int flags) {
  return perThread(cuStreamUpdateCaptureDependencies, hStream, dependencies,
                   numDependencies, flags);
}

CUresult CUDAAPI cuStreamUpdateCaptureDependencies_v2_ptsz(
    CUstream hStream, CUgraphNode *dependencies,
    const CUgraphEdgeData *dependencyData, size_t numDependencies,
    unsigned int flags) {
  return perThread(cuStreamUpdateCaptureDependencies_v2, hStream, dependencies,
                   dependencyData, numDependencies, flags);
}

CUresult CUDAAPI cuStreamWaitEvent_ptsz(CUstream hStream, CUevent hEvent,
                                        unsigned int Flags) {
  return perThread(cuStreamWaitEvent, hStream, hEvent, Flags);
}

CUresult CUDAAPI cuStreamWaitValue32_v2_ptsz(CUstream stream, CUdeviceptr addr,
                                             cuuint32_t value,
                                             unsigned int flags) {
  return perThread(cuStreamWaitValue32_v2, stream, addr, value, flags);
}

CUresult CUDAAPI cuStreamWaitValue64_v2_ptsz(CUstream stream, CUdeviceptr addr,
                                             cuuint64_t value,
                                             unsigned int flags) {
  return perThread(cuStreamWaitValue64_v2, stream, addr, value, flags);
}

CUresult CUDAAPI cuStreamWriteValue32_v2_ptsz(CUstream stream, CUdeviceptr addr,
                                              cuuint32_t value,
                                              unsigned int flags) {
  return perThread(cuStreamWriteValue32_v2, stream, addr, value, flags);
}

CUresult CUDAAPI cuStreamWriteValue64_v2_ptsz(CUstream stream, CUdeviceptr addr,
                                              cuuint64_t value,
                                              unsigned int flags) {
  return perThread(cuStreamWriteValue64_v2, stream, addr, value, flags);
}
