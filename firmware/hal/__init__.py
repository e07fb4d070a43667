"""What the core asks of a board, or of a simulated one. `sim` is the simulated one.

    ticks_ms()               milliseconds that may wrap; compare with ticks_diff(later, earlier)
    unix_time()              s, or None while the clock is not set; whole s on a board, whose floats are too coarse
    coil(i, on)              drive contact i (0, 1, 2 = R, Y, B); on bistable contacts: set or reset it
    mirror(i)                True where the mirror contact proves contact i open
    load_voltage()           V rms on the load side of the contacts
    random_bytes(n)          from the chip's noise source
    aes_cbc_encrypt(key, iv, data), aes_cbc_decrypt(key, iv, data), hmac_sha256(key, data)
"""
