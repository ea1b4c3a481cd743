//! Types that are bytes and nothing else.

/// Types of which any bytes are a value.
pub trait FromBytes: Copy + 'static {
    /// The value of `bytes`, as many as the type has, in the order of memory.
    fn from_bytes(bytes: &[u8]) -> Self;

    /// Returns the value of the bytes that `write` leaves; its error as it is.
    ///
    /// # Errors
    /// That of `write`.
    fn read_with<E>(write: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Self, E>;
}

/// Types without padding, whose values are all bytes.
pub trait IntoBytes: Copy + 'static {
    /// Writes the value to `to`, of as many bytes as the type has, in the order of memory.
    fn to_bytes(&self, to: &mut [u8]);

    /// Calls `read` with the bytes of the value.
    fn with_bytes<R>(&self, read: impl FnOnce(&[u8]) -> R) -> R;
}

/// The methods that need room for the bytes, with `$zeros` for room.
macro_rules! with_room {
    (from $zeros:expr) => {
        #[inline(always)]
        fn read_with<E>(write: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
            let mut bytes = $zeros;
            write(bytes.as_flattened_mut())?;
            Ok(Self::from_bytes(bytes.as_flattened()))
        }
    };
    (into $zeros:expr) => {
        #[inline(always)]
        fn with_bytes<R>(&self, read: impl FnOnce(&[u8]) -> R) -> R {
            let mut bytes = $zeros;
            self.to_bytes(bytes.as_flattened_mut());
            read(bytes.as_flattened())
        }
    };
}

macro_rules! integers {
    ($($type:ty)+) => {
        $(
            impl FromBytes for $type {
                #[inline(always)]
                fn from_bytes(bytes: &[u8]) -> Self {
                    let mut array = [0; size_of::<Self>()];
                    array.copy_from_slice(bytes);
                    Self::from_le_bytes(array)
                }
                with_room!(from [[0u8; size_of::<$type>()]; 1]);
            }
            impl IntoBytes for $type {
                #[inline(always)]
                fn to_bytes(&self, to: &mut [u8]) {
                    to.copy_from_slice(&self.to_le_bytes());
                }
                with_room!(into [[0u8; size_of::<$type>()]; 1]);
            }
            impl<const N: usize> FromBytes for [$type; N] {
                #[inline(always)]
                fn from_bytes(bytes: &[u8]) -> Self {
                    const LEN: usize = size_of::<$type>();
                    core::array::from_fn(|n| <$type>::from_bytes(&bytes[n * LEN..][..LEN]))
                }
                with_room!(from [[0u8; size_of::<$type>()]; N]);
            }
            impl<const N: usize> IntoBytes for [$type; N] {
                #[inline(always)]
                fn to_bytes(&self, to: &mut [u8]) {
                    const LEN: usize = size_of::<$type>();
                    assert_eq!(to.len(), N * LEN);
                    self.iter().zip(to.chunks_exact_mut(LEN)).for_each(|(x, to)| x.to_bytes(to));
                }
                with_room!(into [[0u8; size_of::<$type>()]; N]);
            }
        )+
    };
}
integers!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize);

/// Declares structs that are copied to and from users: laid out as C does, of fields that are
/// [`FromBytes`] and [`IntoBytes`], and without padding, or the compiler refuses them.
#[macro_export]
macro_rules! user_struct {
    ($($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty,)+
    })+) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Copy)]
            #[repr(C)]
            $vis struct $name {
                $($(#[$field_meta])* $field_vis $field: $type,)+
            }

            const _: () = assert!(
                size_of::<$name>() == 0 $(+ size_of::<$type>())+,
                "a struct for users has padding"
            );

            impl $crate::arch::uaccess::FromBytes for $name {
                fn from_bytes(bytes: &[u8]) -> Self {
                    Self {
                        $($field: {
                            let at = core::mem::offset_of!($name, $field);
                            <$type as $crate::arch::uaccess::FromBytes>::from_bytes(
                                &bytes[at..][..size_of::<$type>()],
                            )
                        },)+
                    }
                }
                fn read_with<E>(
                    write: impl FnOnce(&mut [u8]) -> Result<(), E>,
                ) -> Result<Self, E> {
                    let mut bytes = [0; size_of::<$name>()];
                    write(&mut bytes)?;
                    Ok(<Self as $crate::arch::uaccess::FromBytes>::from_bytes(&bytes))
                }
            }

            impl $crate::arch::uaccess::IntoBytes for $name {
                fn to_bytes(&self, to: &mut [u8]) {
                    $({
                        let at = core::mem::offset_of!($name, $field);
                        $crate::arch::uaccess::IntoBytes::to_bytes(
                            &self.$field,
                            &mut to[at..][..size_of::<$type>()],
                        );
                    })+
                }
                fn with_bytes<R>(&self, read: impl FnOnce(&[u8]) -> R) -> R {
                    let mut bytes = [0; size_of::<$name>()];
                    $crate::arch::uaccess::IntoBytes::to_bytes(self, &mut bytes);
                    read(&bytes)
                }
            }
        )+
    };
}
