def liquid_renderer(value):
    raise NotImplementedError


def liquid_fault(value):
    return None
