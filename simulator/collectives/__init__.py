"""What communication costs: arrays in, arrays out.

Two views of it, which meet in no module. *Algorithms*, one file each: who sends how many bytes to whom in which round
(`rounds`), for a network to carry, and the closed form of the same; `algorithms.ALGORITHMS` lists them. *Libraries*:
what a collective takes as a communication library runs it on known wires (`library_cost`), with constants fitted on
measured collectives; steps and measured rows are priced by it. Beside them stand exchanges that are no collectives:
parameter servers, reduction in the network, compressed and sparse gradients, transports, fusion of small messages.
"""
