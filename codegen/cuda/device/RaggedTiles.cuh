// Which rows and columns a thread block of a grouped GEMM takes. Tiles of all
// experts form one list that the device makes from the offsets: experts
// ascending, columns before rows. Blocks walk it with a stride of the grid, so
// any grid is right and none reads a count back.

struct RaggedTile {
  int expert;
  int row;  // into `order`
  int rows; // at most TileRows
  int column;
};

// Exclusive prefix sums of each expert's tiles of rows, Experts + 1 of them,
// into shared memory.
template <int Experts, int TileRows, int Threads>
__device__ void countTiles(const int *offsets, int *firstTile) {
  for (int e = threadIdx.x; e < Experts; e += Threads)
    firstTile[e + 1] = ceilDiv(offsets[e + 1] - offsets[e], TileRows);
  __syncthreads();
  if (threadIdx.x == 0) {
    firstTile[0] = 0;
    for (int e = 0; e < Experts; ++e)
      firstTile[e + 1] += firstTile[e];
  }
  __syncthreads();
}

template <int Experts, int TileRows, int ColumnTiles, int TileColumns>
__device__ RaggedTile findTile(const int *offsets, const int *firstTile,
                               int number) {
  int rowTile = number / ColumnTiles;
  int low = 0, high = Experts; // firstTile[low] <= rowTile < firstTile[high]
  while (low + 1 < high) {
    int middle = (low + high) / 2;
    if (firstTile[middle] <= rowTile)
      low = middle;
    else
      high = middle;
  }
  // Empty experts share the first tile of the next one that is not: `low` is
  // the last of them.
  RaggedTile tile;
  tile.expert = low;
  tile.row = offsets[low] + (rowTile - firstTile[low]) * TileRows;
  tile.rows = min(TileRows, offsets[low + 1] - tile.row);
  tile.column = number % ColumnTiles * TileColumns;
  return tile;
}
