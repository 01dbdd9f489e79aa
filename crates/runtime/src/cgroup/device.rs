pub(crate) fn attach_device_filter() {}
