"""The debugger's view of Granule; scripts/gdb.py loads it into gdb.

    target    memory, virtual and physical, and registers of the stopped machine
    source    names of bits and addresses, out of the kernel's source
    values    typed places in the kernel's memory, by the names of their fields
    symbols   the kernel's symbols at the physical address too
    registers, pgtable, zones, page, slab, vmalloc, cma, memblock
              a command each, or two
    printers  how gdb prints the kernel's types
    commands  `gr`
"""
