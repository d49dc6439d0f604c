//! A machine for classic BPF programs: what libpcap compiles, run over the captured bytes with their length
//! on the wire, some of them left out. It is total: a load past the captured bytes, a division by zero and a
//! program that runs for too long all refuse the packet, as libpcap's own machine does. Pure; knows neither
//! libpcap nor the text of a filter.
//!
//! It exists because a frame is matched without its 802.1Q tags, whose `len` is neither that of the frame nor
//! that of a buffer, and because it spares a copy and a foreign call a packet. Source: McCanne and Jacobson,
//! "The BSD Packet Filter", 1993, and libpcap's `bpf_filter.c`, whose jumps may go backwards (`protochain`).

/// Words of scratch memory that a program may use.
const MEMORY: usize = 16;
/// Instructions after which a packet is refused. Only a loop comes near: `protochain` over the longest packet
/// takes some 600,000.
const MAX_STEPS: u32 = 1 << 20;

/// A packet as a program sees it: its bytes, of which some may be left out.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    data: &'a [u8],
    wire_len: u32,
    keep: usize,
    cut: usize,
}

impl<'a> View<'a> {
    /// All of a packet.
    pub(super) fn whole(data: &'a [u8], wire_len: u32) -> Self {
        Self { data, wire_len, keep: 0, cut: 0 }
    }

    /// A packet without the `cut` bytes that follow its first `keep`; both lengths shrink by as much.
    pub(super) fn without(data: &'a [u8], wire_len: u32, keep: usize, cut: usize) -> Self {
        let cut = cut.min(data.len().saturating_sub(keep));
        Self { data, wire_len: wire_len.saturating_sub(cut as u32), keep, cut }
    }

    /// A big-endian number of `size` bytes.
    #[inline]
    fn load(&self, at: usize, size: usize) -> Option<u32> {
        let end = at.checked_add(size)?;
        let number = |bytes: &[u8]| bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
        if self.cut == 0 || end <= self.keep {
            return self.data.get(at..end).map(number);
        }
        if at >= self.keep {
            return self.data.get(at + self.cut..end.checked_add(self.cut)?).map(number);
        }
        let (head, tail) =
            (self.data.get(at..self.keep)?, self.data.get(self.keep + self.cut..end + self.cut)?);
        Some(number(tail) | number(head) << (8 * tail.len()))
    }
}

#[derive(Debug, Clone, Copy)]
enum Operand {
    Constant(u32),
    Index,
}

#[derive(Debug, Clone, Copy)]
enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Or,
    And,
    Xor,
    ShiftLeft,
    ShiftRight,
}

#[derive(Debug, Clone, Copy)]
enum Test {
    Equal,
    Greater,
    AtLeast,
    AnyBit,
}

/// One instruction; "accumulator" and "index" are BPF's registers A and X.
#[derive(Debug, Clone, Copy)]
enum Op {
    Load { at: u32, size: u8 },
    LoadIndexed { at: u32, size: u8 },
    Set(u32),
    SetLength,
    Recall(u8),
    SetIndex(u32),
    SetIndexLength,
    RecallIndex(u8),
    HeaderLength(u32),
    Store(u8),
    StoreIndex(u8),
    Compute(Arithmetic, Operand),
    Negate,
    Jump(i32),
    Branch { test: Test, with: Operand, yes: u8, no: u8 },
    Return(u32),
    ReturnAccumulator,
    ToIndex,
    FromIndex,
}

/// A program that can be run.
#[derive(Debug, Clone)]
pub(super) struct Program(Box<[Op]>);

impl Program {
    /// Reads instructions, each as its code, its two jumps and its constant; `None` if one is unknown.
    pub(super) fn decode(instructions: impl Iterator<Item = (u16, u8, u8, u32)>) -> Option<Self> {
        instructions.map(decode).collect::<Option<_>>().map(Self)
    }

    /// Whether the program accepts the packet.
    pub(super) fn accepts(&self, packet: &View<'_>) -> bool {
        self.run(packet).is_some_and(|kept| kept != 0)
    }

    fn run(&self, packet: &View<'_>) -> Option<u32> {
        let (mut accumulator, mut index) = (0_u32, 0_u32);
        let mut memory = [0_u32; MEMORY];
        let mut next = 0_usize;
        for _ in 0..MAX_STEPS {
            let op = *self.0.get(next)?;
            next += 1;
            let value = |operand| match operand {
                Operand::Constant(constant) => constant,
                Operand::Index => index,
            };
            match op {
                Op::Load { at, size } => accumulator = packet.load(at as usize, size.into())?,
                Op::LoadIndexed { at, size } => {
                    accumulator = packet.load((index as usize).checked_add(at as usize)?, size.into())?;
                }
                Op::Set(constant) => accumulator = constant,
                Op::SetLength => accumulator = packet.wire_len,
                Op::Recall(slot) => accumulator = *memory.get(usize::from(slot))?,
                Op::SetIndex(constant) => index = constant,
                Op::SetIndexLength => index = packet.wire_len,
                Op::RecallIndex(slot) => index = *memory.get(usize::from(slot))?,
                Op::HeaderLength(at) => index = (packet.load(at as usize, 1)? & 0xf) << 2,
                Op::Store(slot) => *memory.get_mut(usize::from(slot))? = accumulator,
                Op::StoreIndex(slot) => *memory.get_mut(usize::from(slot))? = index,
                Op::Compute(with, operand) => accumulator = compute(with, accumulator, value(operand))?,
                Op::Negate => accumulator = accumulator.wrapping_neg(),
                Op::Jump(by) => next = next.checked_add_signed(by as isize)?,
                Op::Branch { test, with, yes, no } => {
                    let taken = holds(test, accumulator, value(with));
                    next += usize::from(if taken { yes } else { no });
                }
                Op::Return(kept) => return Some(kept),
                Op::ReturnAccumulator => return Some(accumulator),
                Op::ToIndex => index = accumulator,
                Op::FromIndex => accumulator = index,
            }
        }
        None
    }
}

fn compute(with: Arithmetic, left: u32, right: u32) -> Option<u32> {
    Some(match with {
        Arithmetic::Add => left.wrapping_add(right),
        Arithmetic::Subtract => left.wrapping_sub(right),
        Arithmetic::Multiply => left.wrapping_mul(right),
        Arithmetic::Divide => left.checked_div(right)?,
        Arithmetic::Modulo => left.checked_rem(right)?,
        Arithmetic::Or => left | right,
        Arithmetic::And => left & right,
        Arithmetic::Xor => left ^ right,
        Arithmetic::ShiftLeft => left.checked_shl(right).unwrap_or(0),
        Arithmetic::ShiftRight => left.checked_shr(right).unwrap_or(0),
    })
}

fn holds(test: Test, left: u32, right: u32) -> bool {
    match test {
        Test::Equal => left == right,
        Test::Greater => left > right,
        Test::AtLeast => left >= right,
        Test::AnyBit => left & right != 0,
    }
}

fn decode((code, yes, no, k): (u16, u8, u8, u32)) -> Option<Op> {
    let slot = u8::try_from(k).ok().filter(|slot| usize::from(*slot) < MEMORY);
    let operand = if code & 0x08 == 0 { Operand::Constant(k) } else { Operand::Index };
    Some(match code & 0x07 {
        0x00 => {
            let size = match code & 0x18 {
                0x00 => 4,
                0x08 => 2,
                0x10 => 1,
                _ => return None,
            };
            match code & 0xe0 {
                0x00 => Op::Set(k),
                0x20 => Op::Load { at: k, size },
                0x40 => Op::LoadIndexed { at: k, size },
                0x60 => Op::Recall(slot?),
                0x80 => Op::SetLength,
                _ => return None,
            }
        }
        0x01 => match code & 0xe0 {
            0x00 => Op::SetIndex(k),
            0x60 => Op::RecallIndex(slot?),
            0x80 => Op::SetIndexLength,
            0xa0 => Op::HeaderLength(k),
            _ => return None,
        },
        0x02 => Op::Store(slot?),
        0x03 => Op::StoreIndex(slot?),
        0x04 => {
            let with = match code & 0xf0 {
                0x00 => Arithmetic::Add,
                0x10 => Arithmetic::Subtract,
                0x20 => Arithmetic::Multiply,
                0x30 => Arithmetic::Divide,
                0x40 => Arithmetic::Or,
                0x50 => Arithmetic::And,
                0x60 => Arithmetic::ShiftLeft,
                0x70 => Arithmetic::ShiftRight,
                0x80 => return Some(Op::Negate),
                0x90 => Arithmetic::Modulo,
                0xa0 => Arithmetic::Xor,
                _ => return None,
            };
            Op::Compute(with, operand)
        }
        0x05 => {
            let test = match code & 0xf0 {
                0x00 => return Some(Op::Jump(k as i32)),
                0x10 => Test::Equal,
                0x20 => Test::Greater,
                0x30 => Test::AtLeast,
                0x40 => Test::AnyBit,
                _ => return None,
            };
            Op::Branch { test, with: operand, yes, no }
        }
        0x06 if code & 0x18 == 0x10 => Op::ReturnAccumulator,
        0x06 => Op::Return(k),
        _ if code & 0xf8 == 0x80 => Op::FromIndex,
        _ => Op::ToIndex,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(instructions: &[(u16, u8, u8, u32)]) -> Program {
        Program::decode(instructions.iter().copied()).unwrap()
    }

    #[test]
    fn a_loop_without_end_a_jump_out_and_a_division_by_zero_refuse_the_packet() {
        let packet = View::whole(&[1, 2, 3, 4], 4);
        assert!(!program(&[(0x05, 0, 0, u32::MAX)]).accepts(&packet));
        assert!(!program(&[(0x05, 0, 0, 7)]).accepts(&packet));
        assert!(!program(&[(0x05, 0, 0, (-9_i32) as u32)]).accepts(&packet));
        assert!(!program(&[(0x34, 0, 0, 0), (0x06, 0, 0, 1)]).accepts(&packet));
        assert!(!program(&[]).accepts(&packet));
        assert!(program(&[(0x06, 0, 0, 1)]).accepts(&packet));
    }

    #[test]
    fn unknown_instructions_are_refused() {
        for code in [0x18, 0xe0, 0xf4, 0x55, 0x21] {
            assert!(Program::decode([(code, 0, 0, 0)].into_iter()).is_none(), "{code:#x}");
        }
        assert!(Program::decode([(0x02, 0, 0, MEMORY as u32)].into_iter()).is_none());
    }

    #[test]
    fn a_view_reads_as_if_the_cut_bytes_were_not_there() {
        let data: Vec<u8> = (0..40).collect();
        let mut copy = data.clone();
        copy.drain(12..20);
        let (view, plain) = (View::without(&data, 90, 12, 8), View::whole(&copy, 82));
        assert_eq!(view.wire_len, plain.wire_len);
        for size in [1, 2, 4] {
            for at in 0..44 {
                assert_eq!(view.load(at, size), plain.load(at, size), "{size} bytes at {at}");
            }
        }
        assert_eq!(view.load(usize::MAX, 4), None);
    }
}
