# SPDX-License-Identifier: MIT
"""
gdb on Quire's kernel: after `quire run --gdb -- PROGRAM` in one terminal, in another
    gdb -x quire-gdb.py quire.elf
connects to it and adds

    quire-tasks          every task: tid, state, name
    quire-stacks [TGID]  where every task that isn't running waits in the kernel
    quire-mm [MM]        an address space: its VMAs (default: the running task's)
    quire-walk ADDR      the page-table entries behind a user address
    quire-page PFN       a struct page
"""
import gdb

PTE_BITS = "P W U PWT PCD A D PS G special softdirty uffd-wp".split()
VM_BITS = {1: "read", 2: "write", 4: "exec", 8: "shared", 0x100: "growsdown", 0x2000: "locked"}


def value(expression):
    return gdb.parse_and_eval(expression)


def running_task():
    gs = int(value("$gs_base")) & (1 << 64) - 1  # gdb has it signed
    if gs < 1 << 63:
        gs = int(value("$k_gs_base")) & (1 << 64) - 1
    return gdb.Value(gs).cast(gdb.lookup_type("struct percpu").pointer())["current"]


def frame_address(pfn):
    return int(value("quire_frame_base")) + (pfn << 12)


def processes():
    head = value("&all_processes")
    node = head["next"]
    while node != head:
        yield container(node, gdb.lookup_type("struct process"), "all")
        node = node["next"]


def threads(process):
    head = process["threads"].address
    node = head["next"]
    while node != head:
        yield container(node, gdb.lookup_type("struct task"), "thread")
        node = node["next"]


class Tasks(gdb.Command):
    """every task: tid, state, name"""

    def __init__(self):
        super().__init__("quire-tasks", gdb.COMMAND_STATUS)

    def invoke(self, argument, tty):
        names = [f.name for f in gdb.lookup_type("enum task_state").fields()]
        for process in processes():
            print(f"process {int(process['tgid'])}: parent {int(process['parent']['tgid']) if process['parent'] else 0}")
            for task in threads(process):
                print(f"  {int(task['tid']):6} {names[int(task['state'])]:24} {task['comm'].string()}")


def stack_of(task):
    """The functions on the stack of a task that isn't running; frames are chained by rbp."""
    base = int(task["rsp"]) & (1 << 64) - 1
    word = lambda at: int(gdb.parse_and_eval(f"*(unsigned long *){at:#x}"))
    names, frame, at = [], word(base + 40), word(base + 48)  # as switch_stacks() pushed them
    while at >> 63 and len(names) < 32:
        symbol = gdb.execute(f"info symbol {at:#x}", to_string=True).split(" in section")[0]
        names.append(symbol.replace(" ", ""))
        if not base < frame < base + 65536:
            break
        frame, at = word(frame), word(frame + 8)
    return names


class Stacks(gdb.Command):
    """where every task that isn't running waits in the kernel, or those of one process"""

    def __init__(self):
        super().__init__("quire-stacks", gdb.COMMAND_STATUS)

    def invoke(self, argument, tty):
        for process in processes():
            if argument and int(process["tgid"]) != int(argument):
                continue
            for task in threads(process):
                print(f"{int(task['tid'])} {task['comm'].string()}: " + " < ".join(stack_of(task)))


def container(node, struct, member):
    offset = next(f.bitpos // 8 for f in struct.fields() if f.name == member)
    return gdb.Value(int(node) - offset).cast(struct.pointer())


class Mm(gdb.Command):
    """an address space: its VMAs (default: the running task's)"""

    def __init__(self):
        super().__init__("quire-mm", gdb.COMMAND_DATA)

    def invoke(self, argument, tty):
        if argument:
            mm = value(argument).cast(gdb.lookup_type("struct quire_mm").pointer())
        else:
            mm = running_task()["uspace"]["mm"]
        print(f"mm {int(mm):#x}: root pfn {int(mm['root']['n']):#x}, {int(mm['map_count'])} VMAs, "
              f"rss file {int(mm['rss'][0])} anon {int(mm['rss'][1])} shmem {int(mm['rss'][2])} pages")
        address = 0
        vma_find = gdb.lookup_global_symbol("vma_find") or gdb.lookup_static_symbol("vma_find")
        while True:
            vma = vma_find.value()(mm["index"].address, address)
            if not vma:
                break
            flags = int(vma["flags"])
            names = " ".join(name for bit, name in VM_BITS.items() if flags & bit)
            print(f"  {int(vma['start']):012x}-{int(vma['end']):012x} {names:30} pgoff {int(vma['pgoff']):#x} vma {int(vma):#x}")
            address = int(vma["end"])


class Walk(gdb.Command):
    """the page-table entries behind a user address"""

    def __init__(self):
        super().__init__("quire-walk", gdb.COMMAND_DATA)

    def invoke(self, argument, tty):
        address = int(value(argument)) & ((1 << 64) - 1)
        pfn = int(running_task()["uspace"]["mm"]["root"]["n"])
        five = int(value("quire_user_end")) >> 48
        for level in range(5 if five else 4, 0, -1):
            index = address >> (12 + 9 * (level - 1)) & 511
            where = frame_address(pfn) + 8 * index
            entry = int.from_bytes(gdb.selected_inferior().read_memory(where, 8).tobytes(), "little")
            bits = " ".join(n for i, n in enumerate(PTE_BITS) if entry >> i & 1) + (" NX" if entry >> 63 else "")
            print(f"level {level} [{index:3}] at {where:#x}: {entry:#018x} {bits}")
            if not entry & 1 or (level > 1 and entry & 1 << 7):
                return
            pfn = (entry & 0x000FFFFFFFFFF000) >> 12


class Page(gdb.Command):
    """a struct page"""

    def __init__(self):
        super().__init__("quire-page", gdb.COMMAND_DATA)

    def invoke(self, argument, tty):
        page = value(f"quire_pages[{argument}]")
        names = [f.name for f in gdb.lookup_type("enum page_flag").fields()]
        flags = int(page["flags"])
        print(" ".join(n for i, n in enumerate(names) if flags >> i & 1))
        print(page)


for command in (Tasks, Stacks, Mm, Walk, Page):
    command()
gdb.execute("target remote 127.0.0.1:1234")
