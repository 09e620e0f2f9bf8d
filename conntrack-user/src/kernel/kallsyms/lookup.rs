//! Asks the kernel for the addresses of a few symbols by name, where the file of all takes a hundred times as long: it
//! is made line by line as it is read.
#![expect(unsafe_code, reason = "arguments of bpf(2) are unions")]

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
};

use aya_obj::generated::{bpf_cmd, bpf_prog_type};

use crate::kernel::bpf::{bpf, bpf_fd, zeroed_attr};

/// `BPF_F_SLEEPABLE`, which programs of this type must be.
const SLEEPABLE: u32 = 1 << 4;
/// `BPF_FUNC_kallsyms_lookup_name`
const LOOKUP: i32 = 179;
/// Room for a name on the program's stack, and where it is.
const NAME_BYTES: usize = 40;
const NAME_AT: i16 = -8 - NAME_BYTES as i16;
/// Where the program has an address written to.
const ADDRESS_AT: i16 = -8;

const R0: u8 = 0;
const R1: u8 = 1;
const R2: u8 = 2;
const R3: u8 = 3;
const R4: u8 = 4;
/// Kept over calls.
const R6: u8 = 6;
/// The stack's end.
const R10: u8 = 10;

/// Addresses of these symbols, 0 of those there are not. By `bpf_kallsyms_lookup_name` (kernel/bpf/syscall.c, 5.16+; from
/// 6.2 vmlinux' symbols are found by halving), which refuses everything where /proc/kallsyms shows zeroes: then all are 0.
pub fn addresses(names: &[&str]) -> io::Result<Vec<u64>> {
    let program = load(&instructions(names)?)?;
    let mut addresses = vec![0_u64; names.len()];
    let mut attr = zeroed_attr();
    // SAFETY: the union's variant of BPF_PROG_TEST_RUN, all zero so far.
    let request = unsafe { &mut attr.test };
    request.prog_fd = program.as_raw_fd() as u32;
    request.ctx_in = addresses.as_mut_ptr() as u64;
    request.ctx_size_in = size_of_val(addresses.as_slice()) as u32;
    // The kernel copies the context back when the program has ended (`bpf_prog_test_run_syscall`).
    bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attr)?;
    Ok(addresses)
}

fn load(instructions: &[u64]) -> io::Result<OwnedFd> {
    let mut attr = zeroed_attr();
    // SAFETY: the union's variant of BPF_PROG_LOAD, all zero so far.
    let request = unsafe { &mut attr.__bindgen_anon_3 };
    request.prog_type = bpf_prog_type::BPF_PROG_TYPE_SYSCALL as u32;
    request.prog_flags = SLEEPABLE;
    request.insns = instructions.as_ptr() as u64;
    request.insn_cnt = instructions.len() as u32;
    request.license = c"Dual MIT/GPL".as_ptr() as u64;
    for (to, from) in request.prog_name.iter_mut().zip(b"ctw_symbols") {
        *to = *from as _;
    }
    bpf_fd(bpf_cmd::BPF_PROG_LOAD, &mut attr)
}

/// A program that looks up all names and leaves their addresses in its context.
fn instructions(names: &[&str]) -> io::Result<Vec<u64>> {
    // r6 = context
    let mut program = vec![instruction(0xbf, R6, R1, 0, 0)];
    for (name, to) in names.iter().zip((0..).step_by(size_of::<u64>())) {
        if name.len() >= NAME_BYTES {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut bytes = [0; NAME_BYTES];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        for (word, at) in bytes.chunks_exact(8).zip((NAME_AT..).step_by(8)) {
            // r1 = word; stack[at] = r1
            let half = |from: usize| i32::from_le_bytes([0, 1, 2, 3].map(|n| word[from + n]));
            program.extend([instruction(0x18, R1, 0, 0, half(0)), instruction(0, 0, 0, 0, half(4))]);
            program.push(instruction(0x7b, R10, R1, at, 0));
        }
        program.extend([
            // stack[ADDRESS_AT] = 0
            instruction(0x7a, R10, 0, ADDRESS_AT, 0),
            // r1 = name, r2 = its size with the zero at its end, r3 = no flags, r4 = where to
            instruction(0xbf, R1, R10, 0, 0),
            instruction(0x07, R1, 0, 0, NAME_AT.into()),
            instruction(0xb7, R2, 0, 0, name.len() as i32 + 1),
            instruction(0xb7, R3, 0, 0, 0),
            instruction(0xbf, R4, R10, 0, 0),
            instruction(0x07, R4, 0, 0, ADDRESS_AT.into()),
            instruction(0x85, 0, 0, 0, LOOKUP),
            // context[to] = the address
            instruction(0x79, R1, R10, ADDRESS_AT, 0),
            instruction(0x7b, R6, R1, to, 0),
        ]);
    }
    // return 0
    program.extend([instruction(0xb7, R0, 0, 0, 0), instruction(0x95, 0, 0, 0, 0)]);
    Ok(program)
}

/// `struct bpf_insn` (include/uapi/linux/bpf.h) on a little-endian machine.
fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> u64 {
    u64::from(code)
        | u64::from(to | from << 4) << 8
        | u64::from(offset as u16) << 16
        | u64::from(immediate as u32) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_laid_out_as_the_kernel_has_them() {
        // r4 += -8
        assert_eq!(instruction(0x07, R4, 0, 0, -8).to_le_bytes(), [0x07, 0x04, 0, 0, 0xf8, 0xff, 0xff, 0xff]);
        // *(u64 *)(r10 - 48) = r1
        assert_eq!(instruction(0x7b, R10, R1, -48, 0).to_le_bytes(), [0x7b, 0x1a, 0xd0, 0xff, 0, 0, 0, 0]);
    }

    #[test]
    fn a_name_that_does_not_fit_is_refused() {
        assert!(instructions(&[&"x".repeat(NAME_BYTES)]).is_err());
        assert_eq!(instructions(&["ab", "cd"]).expect("short names").len(), 1 + 2 * 25 + 2);
    }
}
