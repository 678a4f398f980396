/** Element types and their blocks: as 32-bit floats, or as the blocks of ONNX Runtime's MatMulNBits. */
export { blockInfo, dequantise, typeBytes, type BlockInfo } from './dequantise.ts';
export { blockForm, coarsen, expandBlocks, quantise, quantisedBlock, toBlocks, type WeightBlocks } from './blocks.ts';
export { largestRounded, roundRows, roundStacked, type RoundedRows, type Weight } from './rounded-rows.ts';
